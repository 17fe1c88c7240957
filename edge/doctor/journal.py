"""The last events of the service, from the journal.

Three questions, for the journal's index answers each at once: what was at least a warning, what
carries EDGE_EVENT, and the daemon's last words, whatever they were. Source: journalctl(1).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any, Final, get_args

from edge.contract import EventType
from edge.doctor.checks import Check, Findings, command
from edge.doctor.service import NAME

SHOWN: Final = 8
LAST_WORDS: Final = 2
TIMEOUT_S: Final = 6.0
FIELDS: Final = "MESSAGE,PRIORITY,EDGE_EVENT,SYSLOG_IDENTIFIER"
EVENTS: Final = tuple(
    f"EDGE_EVENT={name}" for name in get_args(EventType) if name != "label_changed"
)
"""What a camera sees is no news about its health, and would bury that."""
INFO: Final = 6


def read() -> Check:
    """Return the last events, oldest first."""
    told: list[str] = []
    questions = (("-p", "warning"), EVENTS, (f"_SYSTEMD_UNIT={NAME}.service",))
    refused = ""
    for number, asked in zip((SHOWN, SHOWN, LAST_WORDS), questions, strict=True):
        unit = () if asked[0].startswith("_") else ("-u", NAME)
        try:
            done = command(
                *("journalctl", *unit, "-o", "json", "--no-pager", f"--output-fields={FIELDS}"),
                *("-n", str(number), *asked),
                timeout_s=TIMEOUT_S,
            )
        except FileNotFoundError:
            return check([], "no journal here")
        told += done.stdout.splitlines()
        refused = refused or next(iter(done.stderr.strip().splitlines()), "")
    return check(told, refused)


def check(lines: Iterable[str], refused: str = "") -> Check:
    """Return entries in journalctl's JSON as a check.

    refused  what journalctl says where it shows nothing
    """
    found = Findings("events")
    entries: dict[str, dict[str, Any]] = {}
    for line in lines:
        try:
            entry = json.loads(line)
            entries[entry["__CURSOR"]] = _entry(entry)
        except (ValueError, KeyError, TypeError, ArithmeticError, OSError, RecursionError):
            continue  # no entry of a journal's; OSError: a date that the calendar has not
    newest = sorted(entries.values(), key=lambda entry: entry["time_s"])[-SHOWN:]
    found.facts["events"] = newest
    if refused and not newest:
        hidden = "permission" in refused or "not seeing" in refused
        found.wrong("unknown", refused, "sudo edge doctor" if hidden else "")
    elif not newest:
        found.say("none in the journal")
    else:
        found.say(f"the last {len(newest)}")
    return found.check()


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    time_s = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
    message = entry.get("MESSAGE") or ""
    if isinstance(message, list):  # bytes that are not UTF-8
        message = bytes(message).decode("utf-8", "replace")
    return {
        "time_s": time_s,
        "time": time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(time_s)),
        "priority": int(entry.get("PRIORITY", INFO)),
        "event": entry.get("EDGE_EVENT"),
        "message": str(message),
    }
