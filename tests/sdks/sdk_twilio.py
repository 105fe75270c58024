"""Twilio's own SDK against the simulated Twilio. The SDK takes no base address; its documented hook for that is a custom HTTP
client, which here is the SDK's own one with the host replaced. Everything else is its default."""

import urllib.parse

import common
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

TWIML = "<Response><Say>Hello from the SDK.</Say></Response>"


class ToTheSimulator(TwilioHttpClient):
    def request(self, method, url, *args, **kwargs):
        address = urllib.parse.urlsplit(url)
        assert address.netloc == "api.twilio.com", url
        query = f"?{address.query}" if address.query else ""
        return super().request(method, common.URL + address.path + query, *args, **kwargs)


def client():
    return Client(common.ACCOUNT, common.KEY, http_client=ToTheSimulator())


def place(number):
    return client().calls.create(
        to=number,
        from_=common.FROM,
        twiml=TWIML,
        status_callback_event=["initiated", "ringing", "answered", "completed"],
    )


def check():
    placed = place(common.NUMBER)
    assert placed.sid.startswith("CA") and placed.status == "queued", placed.status
    twilio = client()
    read = twilio.calls(placed.sid).fetch()
    assert (read.sid, read.to, read.direction) == (placed.sid, common.NUMBER, "outbound-api"), read
    listed = [call.sid for call in twilio.calls.list(to=common.NUMBER, from_=common.FROM, page_size=1)]
    assert placed.sid in listed, listed
    (seen,) = [call for call in common.calls() if call["sid"] == placed.sid]
    assert seen["from"] == common.FROM, seen


common.main("twilio", check, place)
