"""The last events of the service, from the journal.

Three queries, each of which the journal's index answers at once: warnings and worse, entries with
EDGE_EVENT, and the service's last entries of any kind. Source: journalctl(1).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final, get_args

from edge.contract import EventType
from edge.doctor.checks import Check, Findings, command
from edge.doctor.service import NAME

NEWEST: Final = 8
LAST_ENTRIES: Final = 2
TIMEOUT_S: Final = 6.0
FIELDS: Final = "MESSAGE,PRIORITY,EDGE_EVENT,SYSLOG_IDENTIFIER"
EVENTS: Final = tuple(
    f"EDGE_EVENT={name}" for name in get_args(EventType) if name != "label_changed"
)
"""Not label changes: they say nothing about the device's health, and would bury what does."""
INFO: Final = 6


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the journal; ``priority`` as in syslog(3), ``event`` is EDGE_EVENT."""

    time_s: float
    time: str
    priority: int
    event: str | None
    message: str


def read() -> Check:
    """Return the last events, oldest first."""
    queries = (
        (NEWEST, ("-u", NAME, "-p", "warning")),
        (NEWEST, ("-u", NAME, *EVENTS)),
        (LAST_ENTRIES, (f"_SYSTEMD_UNIT={NAME}.service",)),
    )
    lines: list[str] = []
    refusal = ""
    for count, query in queries:
        try:
            process = command(
                *("journalctl", "-o", "json", "--no-pager", f"--output-fields={FIELDS}"),
                *("-n", str(count), *query),
                timeout_s=TIMEOUT_S,
            )
        except FileNotFoundError:
            return check([], "no journal here")
        lines += process.stdout.splitlines()
        refusal = refusal or next(iter(process.stderr.strip().splitlines()), "")
    return check(lines, refusal)


def check(lines: Iterable[str], refusal: str = "") -> Check:
    """Return entries in journalctl's JSON as a check.

    refusal  what journalctl says where it prints none
    """
    findings = Findings("events")
    entries: dict[str, Entry] = {}
    for line in lines:
        try:
            entry = json.loads(line)
            entries[entry["__CURSOR"]] = _entry(entry)
        except (ValueError, KeyError, TypeError, ArithmeticError, OSError, RecursionError):
            continue  # not an entry; OSError: a date outside the calendar
    newest = sorted(entries.values(), key=lambda entry: entry.time_s)[-NEWEST:]
    findings.facts["events"] = [asdict(entry) for entry in newest]
    if refusal and not newest:
        hidden = "permission" in refusal or "not seeing" in refusal
        findings.wrong("unknown", refusal, "sudo edge doctor" if hidden else "")
    elif not newest:
        findings.say("none in the journal")
    else:
        findings.say(f"the last {len(newest)}")
    return findings.check()


def _entry(fields: dict[str, Any]) -> Entry:
    """Return one entry of journalctl's JSON."""
    time_s = int(fields["__REALTIME_TIMESTAMP"]) / 1e6
    message = fields.get("MESSAGE") or ""
    if isinstance(message, list):  # bytes that are not UTF-8
        message = bytes(message).decode("utf-8", "replace")
    return Entry(
        time_s=time_s,
        time=time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(time_s)),
        priority=int(fields.get("PRIORITY", INFO)),
        event=fields.get("EDGE_EVENT"),
        message=str(message),
    )
