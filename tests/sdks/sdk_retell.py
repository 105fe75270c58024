"""Retell's SDK against the simulated Retell. It also verifies the simulator's webhook by the vendor's own code."""

import http.server
import threading
import time

import common
from retell import Retell

ATTEMPT = "3f0c2a0e-0000-4000-8000-0000000005dc"


def client():
    return Retell(api_key=common.KEY, base_url=common.URL)


def create(number, **more):
    return client().call.create_phone_call(
        from_number=common.FROM,
        to_number=number,
        override_agent_id="agent_sdk",
        metadata={"voxd_attempt_id": ATTEMPT},
        retell_llm_dynamic_variables={"content": "Hello from the SDK."},
        **more,
    )


def place(number):
    create(number)


class Catcher(http.server.BaseHTTPRequestHandler):
    caught = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.caught.append((body, self.headers["x-retell-signature"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def until(what, question):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if answer := question():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within 30 s")


def check():
    retell = client()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Catcher)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/webhooks"
    common.control_set_script(common.NUMBER, "accepted", talk="6s")
    call = create(common.NUMBER, agent_override={"agent": {"webhook_url": url, "max_call_duration_ms": 60_000}})
    assert call.call_status == "registered" and call.to_number == common.NUMBER, call

    def ended():
        found = retell.call.retrieve(call.call_id)
        return found if found.call_status == "ended" else None

    found = until("the call ends", ended)
    assert found.disconnection_reason == "user_hangup" and found.duration_ms == 6000, found
    assert found.call_cost.combined_cost > 0 and "Hello from the SDK." in found.transcript, found
    listed = retell.call.list(
        filter_criteria={"metadata": [{"key": "voxd_attempt_id", "type": "string", "op": "eq", "value": ATTEMPT}]}
    )
    assert [item.call_id for item in listed.items] == [call.call_id] and listed.has_more is False, listed
    lines = retell.concurrency.retrieve()
    assert lines.concurrency_limit >= lines.current_concurrency >= 0, lines

    until("three webhooks come", lambda: len(Catcher.caught) >= 3)
    server.shutdown()
    events = []
    for body, signature in Catcher.caught:
        assert retell.verify(body, common.SECRET, signature), body
        assert not retell.verify(body + " ", common.SECRET, signature), body
        events.append(body.split('"event":"')[1].split('"')[0])
    assert events == ["call_started", "call_ended", "call_analyzed"], events


common.main("retell-sdk", check, place)
