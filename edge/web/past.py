"""The address of the history: labels, events and figures of the last hours, from the file."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from fastapi import Request
from msgspec import Meta
from starlette.responses import Response

from edge.errors import EdgeError
from edge.web import described
from edge.web.answers import answer
from edge.web.history import History
from edge.web.history_file import BUSY_S, KEPT_S
from edge.web.routes import Route
from edge.web.work import Work

HOURS_MAX: Final = KEPT_S / 3600
HOURS_MIN: Final = 0.01
POINTS: Final = 720
"""Of a series, at most; each is of a step of time."""
STRETCHES, EVENTS = 2_000, 500
"""The newest ones are given."""
COLUMNS: Final = {
    "fps": "avg",
    "temperature_c": "max",
    "memory_bytes": "max",
    "latency_p50_ms": "avg",
    "latency_p99_ms": "max",
    "invoke_p50_ms": "avg",
    "drift_psi_max": "max",
}
"""Of a series -> what a step has of it."""
Hours = Annotated[float, Meta(ge=HOURS_MIN, le=HOURS_MAX)]
Number = float | None


class Series(msgspec.Struct):
    """Figures; all lists are of the same length, oldest first. time: seconds since 1970."""

    time: list[float]
    fps: list[Number]
    temperature_c: list[Number]
    memory_bytes: list[Number]
    latency_p50_ms: list[Number]
    latency_p99_ms: list[Number]
    invoke_p50_ms: list[Number]
    drift_psi_max: list[Number]


class Past(msgspec.Struct):
    """What was kept.

    since, until  seconds since 1970
    step_s   between two points of the series; more is a gap: nothing was kept there
    labels   since, until, label, null where it was uncertain; oldest first, gaps between them
    events   payloads as they were published, oldest first
    """

    since: float
    until: float
    step_s: float
    labels: list[tuple[float, float, str | None]]
    events: list[msgspec.Raw]
    series: Series


class PastApi:
    """The handler."""

    def __init__(self, history: History, work: Work) -> None:
        self._history, self._work = history, work

    def routes(self) -> list[Route]:
        """Return the address."""
        hours = described.parameter("hours", Hours, "how far back; default 24")
        gives = described.gives(Past)
        events = gives["application/json"]["properties"]["events"]
        events["items"] = {"type": "object"}
        return [
            Route(
                *("/api/history", "GET", self.past, "Labels, events and figures of the past"),
                *(gives, (404, 409, 503), None, (hours,)),
            )
        ]

    async def past(self, request: Request) -> Response:
        """Return the last hours."""
        hours = described.number(request, "hours", 24.0, HOURS_MIN, HOURS_MAX)
        now_s = time.time()
        self._history.flush()
        path = self._history.path
        return answer(await self._work.do(lambda: read(path, now_s - hours * 3600, now_s)))


def read(path: Path, since_s: float, until_s: float) -> Past:
    """Return what the file has of a time; nothing where there is no file. Raises EdgeError."""
    step_s = max(1.0, (until_s - since_s) / POINTS)
    past = Past(since_s, until_s, step_s, [], [], Series(*([] for _ in range(1 + len(COLUMNS)))))
    if not path.is_file():
        return past
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", BUSY_S, uri=True)
        try:
            _fill(past, connection)
        finally:
            connection.close()
    except (sqlite3.Error, UnicodeDecodeError) as exc:
        raise EdgeError(f"the history cannot be read: {exc}", where=str(path)) from exc
    return past


def _fill(past: Past, connection: sqlite3.Connection) -> None:
    during = (past.since, past.until)
    query = (
        "SELECT since, until, label FROM labels WHERE until >= ? AND since <= ?"
        f" ORDER BY since DESC LIMIT {STRETCHES}"
    )
    for since, until, label in reversed(connection.execute(query, during).fetchall()):
        last = past.labels[-1] if past.labels else None
        if last is not None and last[2] == label and since <= last[1] + 1.0:
            past.labels[-1] = (last[0], max(last[1], until), label)  # of two processes at once
        else:
            past.labels.append((max(since, past.since), until, label))
    query = f"SELECT payload FROM events WHERE ts BETWEEN ? AND ? ORDER BY ts DESC LIMIT {EVENTS}"
    payloads = [payload for (payload,) in connection.execute(query, during)]
    past.events = [msgspec.Raw(_json(payload)) for payload in reversed(payloads)]
    figures = ", ".join(f"{how}({name})" for name, how in COLUMNS.items())
    query = (
        f"SELECT avg(ts), {figures} FROM figures WHERE ts BETWEEN ? AND ?"
        " GROUP BY CAST((ts - ?) / ? AS INTEGER) ORDER BY 1"
    )
    rows: list[Any] = connection.execute(query, (*during, past.since, past.step_s)).fetchall()
    for number, name in enumerate(("time", *COLUMNS)):
        setattr(past.series, name, [_number(row[number]) for row in rows])


def _json(payload: object) -> bytes:
    """Return what was kept, if it is JSON: the file may hold anything."""
    content = str(payload).encode("utf-8", "replace")
    try:
        msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b"{}"
    return content


def _number(value: object) -> float | None:
    return round(float(value), 3) if isinstance(value, int | float) else None
