"""What the scripts that drive our simulators with the vendors' own SDKs have in common.

One script for each platform, `sdk_PLATFORM.py` (a `vapi.py` would be imported instead of the vendor's package). `run` starts
it with `VOXD_SIM_URL` (the simulator's base address), `VOXD_SIM_KEY` (its API key), `VOXD_SIM_CONTROL` (base address of the
simulator's own paths, `…/_voxd`), `VOXD_SIM_SECRET` (what signs its webhooks), `VOXD_SIM_ACCOUNT` (where the vendor has accounts: Twilio's SID), and a clean environment
otherwise. A script says `common.main("distribution-name", check, place)`:

- `check()` places a call with the SDK's default settings apart from address and key, reads it back, and asserts what came;
- `place(number)` places one call with the SDK's default settings, however that ends.

With `--after-504` the simulator answers every create request with a gateway's 504 (and makes the call all the same);
`place` is called once, and the last line printed is how many POSTs arrived. Each of them is one more call to a person.
"""

import importlib.metadata
import json
import os
import sys
import urllib.parse
import urllib.request

URL = os.environ.get("VOXD_SIM_URL", "").rstrip("/")
KEY = os.environ.get("VOXD_SIM_KEY", "")
CONTROL = os.environ.get("VOXD_SIM_CONTROL", "").rstrip("/")
SECRET = os.environ.get("VOXD_SIM_SECRET", "")
ACCOUNT = os.environ.get("VOXD_SIM_ACCOUNT", "")

# Its last digits choose no script: what is set holds, else the call completes.
NUMBER = "+14155569001"
NUMBER_OF_504 = "+14155569504"
FROM = "+14155569000"

# No proxy: the simulators are on this machine.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def _ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(CONTROL + path, data, {"content-type": "application/json"})
    with _open(request, timeout=30) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def control_set_script(number, answer, **script):
    """From now on create requests for `number` (E.164) are answered so: `accepted`, `gateway_timeout_after`, `rate_limited`, …
    (src/sim/platform/scripts.rs). Further members of a script: `outcome`, `webhook`, `ring`, `talk`."""
    _ask("/scripts", {"number": number, "script": {"answer": answer, **script}})


def journal():
    """Every request that the simulator got, in order: `method`, `path` (with the query), `create`, `number`, `created`,
    `status`, `at`."""
    return _ask("/journal")


def journal_posts(path=None, number=None):
    """The POSTs that asked for a call; only those to `path` (without its query) or for `number`, where given."""

    def wanted(entry):
        this_path = urllib.parse.urlsplit(entry["path"]).path
        return (
            entry["method"] == "POST"
            and entry["create"]
            and (path is None or this_path == path)
            and (number is None or entry["number"] == number)
        )

    return [entry for entry in journal() if wanted(entry)]


def calls():
    """All calls that the simulator made, as the vendor shows them."""
    return _ask("/calls")


def main(distribution, check, place):
    for name in ("URL", "KEY", "CONTROL"):
        if not globals()[name]:
            sys.exit(f"VOXD_SIM_{name} is not set: this is started by tests/sdks/run")
    version = importlib.metadata.version(distribution)
    if sys.argv[1:] == ["--after-504"]:
        control_set_script(NUMBER_OF_504, "gateway_timeout_after")
        before = len(journal_posts())
        ended = "without an error"
        try:
            place(NUMBER_OF_504)
        except Exception as error:  # Whatever the SDK makes of it.
            ended = f"with {type(error).__name__}"
        print(f"{distribution} {version} ended {ended}")
        print(len(journal_posts()) - before)
    elif sys.argv[1:]:
        sys.exit(f"unknown: {' '.join(sys.argv[1:])}; expected nothing or --after-504")
    else:
        check()
        print(f"{distribution} {version}: placed a call and read it back")
