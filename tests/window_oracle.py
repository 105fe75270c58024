"""Says when windows are open around every change of the clocks, by the standard library's zoneinfo.

Reads JSON from standard input: {"zones": [...], "windows": [{"from": "09:00", "to": "20:00", "days": ["mon", ...]}],
"from_year": 2024, "to_year": 2030}. Prints a JSON object for each change of a zone's clock:
{"zone", "at": seconds since 1970, "offset": seconds east of UTC after it, "open": [one text of 0 and 1 for each window]},
each character a quarter of an hour, from 30 hours before the change to 90 hours after it. Zones without a change are told
with "at" in the middle of 2027.
"""

import json
import sys
from datetime import datetime, timedelta, timezone

try:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError
except ImportError:
    sys.exit("Python 3.9 or newer is missing (module zoneinfo)")

UTC = timezone.utc
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
HALF_DAY = 12 * 3600
QUARTER = timedelta(minutes=15)


def minutes(text):
    hour, minute = text.split(":")
    return int(hour) * 60 + int(minute)


def offset(zone, seconds):
    return int(datetime.fromtimestamp(seconds, zone).utcoffset().total_seconds())


def changes(zone, first, last):
    before = offset(zone, first)
    for seconds in range(first + HALF_DAY, last, HALF_DAY):
        after = offset(zone, seconds)
        if after != before:
            low, high = seconds - HALF_DAY, seconds
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(zone, middle) == before else (low, middle)
            yield high
        before = after


def main():
    asked = json.load(sys.stdin)
    windows = [(minutes(w["from"]), minutes(w["to"]), {DAYS.index(d) for d in w.get("days") or DAYS}) for w in asked["windows"]]
    first = int(datetime(asked["from_year"], 1, 1, tzinfo=UTC).timestamp())
    last = int(datetime(asked["to_year"] + 1, 1, 1, tzinfo=UTC).timestamp())
    middle = int(datetime(2027, 7, 1, tzinfo=UTC).timestamp())
    for name in asked["zones"]:
        try:
            zone = ZoneInfo(name)
        except ZoneInfoNotFoundError:
            sys.exit(f"no time zone data for {name}: install the system package tzdata")
        for at in list(changes(zone, first, last)) or [middle]:
            start = datetime.fromtimestamp(at, UTC) - timedelta(hours=30)
            flags = [[] for _ in windows]
            for step in range(120 * 4):
                local = (start + step * QUARTER).astimezone(zone)
                minute, day = local.hour * 60 + local.minute, local.weekday()
                for flag, (begin, end, days) in zip(flags, windows):
                    flag.append("1" if day in days and begin <= minute < end else "0")
            told = {"zone": name, "at": at, "offset": offset(zone, at), "open": ["".join(flag) for flag in flags]}
            print(json.dumps(told))


main()
