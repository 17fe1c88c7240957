"""A spool's file written by another program: events are delivered, and nothing else."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from edge.messages import Message
from edge.mqtt.spool import Spool
from tests.conftest import ROOT

LOOSE: Final = (
    "CREATE TABLE events (number INTEGER PRIMARY KEY, topic TEXT, qos INTEGER, payload BLOB)"
)
"""The spool's own table, but for the constraints."""
Row = tuple[object, object, object, object]


def written(path: Path, rows: list[Row], *more: str, table: str = LOOSE) -> None:
    """Make a database with ``rows``; ``more`` are statements that follow."""
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(table)
        database.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
        for statement in more:
            database.execute(statement)


def good(number: int, size: int = 1) -> Row:
    """Return a row that is an event."""
    return number, "edge/d/event", 1, str(number).encode().ljust(size)


@contextlib.contextmanager
def opened(path: Path, events_max: int = 10_000, bytes_max: int = 10**7) -> Iterator[Spool]:
    """Open the spool ``path``."""
    spool = Spool(path, events_max, bytes_max)
    try:
        yield spool
    finally:
        spool.close()


def drained(spool: Spool) -> list[Message]:
    """Return all that waits, in order, as a broker would have taken it."""
    messages, at = [], 0
    while item := spool.after(at):
        at, message = item
        messages.append(message)
        spool.done(at)
    assert len(spool) == 0
    return messages


def aside(path: Path) -> list[tuple[object, ...]]:
    """Return what a person finds in the table ``set_aside``: number, payload, reason."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT number, payload, reason FROM set_aside").fetchall()


BAD: Final[dict[str, tuple[Row, str]]] = {
    "wildcard": ((3, "edge/#", 1, b"3"), "wildcard"),
    "plus": ((3, "edge/+/event", 1, b"3"), "wildcard"),
    "control": ((3, "edge/\x07", 1, b"3"), "control"),
    "empty": ((3, "", 1, b"3"), "1 to 65535 bytes"),
    "null topic": ((3, None, 1, b"3"), "topic is not text"),
    "blob topic": ((3, b"edge/d/event", 1, b"3"), "topic is not text"),
    "long topic": ((3, "t" * 65_536, 1, b"3"), "1 to 65535 bytes"),
    "topic of a megabyte": ((3, "t" * 10**6, 1, b"3"), "1 to 65535 bytes"),
    "qos 7": ((3, "edge/d/event", 7, b"3"), "qos"),
    "qos -1": ((3, "edge/d/event", -1, b"3"), "qos"),
    "qos 1.5": ((3, "edge/d/event", 1.5, b"3"), "qos"),
    "text qos": ((3, "edge/d/event", "one", b"3"), "qos"),
    "null qos": ((3, "edge/d/event", None, b"3"), "qos"),
    "null payload": ((3, "edge/d/event", 1, None), "payload is not a blob"),
    "text payload": ((3, "edge/d/event", 1, "3"), "payload is not a blob"),
    "number payload": ((3, "edge/d/event", 1, 3), "payload is not a blob"),
    "payload beyond all": ((3, "edge/d/event", 1, bytes(10**7 + 1)), "10000001 bytes"),
    "largest number": ((2**63 - 1, "edge/d/event", 1, b"3"), "number is not"),
    "number zero": ((0, "edge/d/event", 1, b"3"), "number is not"),
    "negative number": ((-(2**63), "edge/d/event", 1, b"3"), "number is not"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_row_that_is_no_event_is_set_aside(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Counted, reported in one line, kept for a person; the rest is delivered in order."""
    row, why = BAD[name]
    path = tmp_path / "spool.db"
    written(path, [good(1), good(2), row, good(4)])
    with opened(path) as spool:
        assert (spool.set_aside_total, spool.dropped_total) == (1, 1)
        assert spool.add(Message("edge/d/event", b"5", 1, False)) > 4
        assert [message.payload for message in drained(spool)] == [b"1", b"2", b"4", b"5"]
    assert len(caplog.records) == 1
    assert f"1 rows are not events, the last is number {row[0]}: " in caplog.text
    assert why in caplog.text
    ((number, payload, reason),) = aside(path)
    assert number == row[0]
    assert payload in (row[3], bytes(4096))
    assert why in str(reason)
    with opened(path) as spool:
        assert spool.set_aside_total == len(spool) == 0
    assert len(caplog.records) == 1


def test_ten_thousand_bad_rows_are_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The newest hundred are kept, all are counted, and what stands between them is delivered."""
    path = tmp_path / "spool.db"
    written(path, [good(n) if n % 100 == 0 else (n, None, 1, b"") for n in range(1, 10_001)])
    with opened(path) as spool:
        assert spool.set_aside_total == 9900
        assert [int(message.payload) for message in drained(spool)] == [*range(100, 10_001, 100)]
    assert len(caplog.records) == 1
    kept = sorted(row[0] for row in aside(path))  # type: ignore[type-var]
    assert kept == [n for n in range(9800, 10_000) if n % 100][-100:]


def test_a_text_that_is_not_utf8_is_set_aside(tmp_path: Path) -> None:
    """SQLite stores any bytes as text."""
    path = tmp_path / "spool.db"
    statement = "INSERT INTO events VALUES (2, CAST(x'edfffe' AS TEXT), 1, x'32')"
    written(path, [good(1), good(3)], statement)
    with opened(path) as spool:
        assert [message.payload for message in drained(spool)] == [b"1", b"3"]
    assert "not UTF-8" in str(aside(path))


PEAK: Final = """
import resource, sys
from pathlib import Path
from edge.mqtt.spool import Spool
usual = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
spool = Spool(Path(sys.argv[1]), 10_000, 10**7)
at, came = 0, []
while item := spool.after(at):
    at = item[0]
    came.append(item[1].payload.decode())
spool.close()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - usual, *came)
"""


@pytest.mark.parametrize("kind", ["topic", "payload", "both"])
def test_a_row_of_300_mb_is_never_held(kind: str, tmp_path: Path) -> None:
    """It costs megabytes of memory and is set aside; the rest is delivered."""
    path = tmp_path / "spool.db"
    topic = "printf('%.*c', 300000000, 'x')" if kind != "payload" else "'edge/d/event'"
    payload = "zeroblob(300000000)" if kind != "topic" else "x'32'"
    written(path, [good(1), good(3)], f"INSERT INTO events VALUES (2, {topic}, 1, {payload})")
    command = [sys.executable, "-c", PEAK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    kilobytes, *came = done.stdout.split()
    assert came == ["1", "3"]
    assert int(kilobytes) < 20_000
    assert len(aside(path)) == 1
    path.unlink()


@pytest.mark.parametrize(
    ("events_max", "bytes_max", "expected"),
    [(3, 10**7, [8, 9, 10]), (100, 2500, [9, 10]), (1, 1000, [10])],
)
def test_the_bounds_hold_for_what_the_file_holds_already(
    events_max: int, bytes_max: int, expected: list[int], tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """The oldest give way, counted, in one line; they are gone from the file as well."""
    path = tmp_path / "spool.db"
    written(path, [good(n, 1000) for n in range(1, 11)])
    with opened(path, events_max, bytes_max) as spool:
        assert len(spool) == len(expected)
        assert spool.dropped_total == 10 - len(expected)
    assert len(caplog.records) == 1
    assert f"dropped the {10 - len(expected)} oldest events" in caplog.text
    with opened(path) as spool:
        assert [int(message.payload) for message in drained(spool)] == expected


OTHERS: Final = {
    "other columns": ["CREATE TABLE events (id INTEGER PRIMARY KEY, name TEXT)"],
    "another table": ["CREATE TABLE sensors (id INTEGER PRIMARY KEY)"],
    "a view": ["CREATE VIEW events AS SELECT 1 AS number, 't' AS topic, 1 AS qos, x'' AS payload"],
    "a trigger": [
        LOOSE,
        "CREATE TRIGGER never BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'no'); END",
    ],
    "an index": [LOOSE, "CREATE UNIQUE INDEX one ON events (topic)"],
    "a check": [LOOSE[:-1] + " CHECK (length(payload) < 1))"],
    "a column more": [LOOSE[:-1] + ", more TEXT NOT NULL)"],
    "no key": ["CREATE TABLE events (number INTEGER, topic TEXT, qos INTEGER, payload BLOB)"],
    "a foreign set_aside": [LOOSE, "CREATE TABLE set_aside (id INTEGER)"],
    "capitals": ["CREATE TABLE EVENTS (id INTEGER PRIMARY KEY)"],
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_programs_database_is_set_aside(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Renamed as it is and reported in one line; a new one is begun beside it."""
    path = tmp_path / "spool.db"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        for statement in OTHERS[name]:
            database.execute(statement)
        before = [*database.iterdump()]
    for number in (1, 2):
        with opened(path) as spool:
            assert len(spool) == number - 1
            spool.add(Message("edge/d/event", b"x", 1, False))
            assert spool.volatile == 0
    assert len(caplog.records) == 1
    assert "another program's database" in caplog.text
    (old,) = tmp_path.glob("spool.db.unreadable-*")
    with contextlib.closing(sqlite3.connect(old)) as database:
        assert [*database.iterdump()] == before


def test_files_set_aside_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest five are kept, however often a card spoils the file."""
    path = tmp_path / "spool.db"
    for second in range(8):
        monkeypatch.setattr(time, "time_ns", lambda second=second: (10**9 + second) * 10**9)
        path.write_bytes(b"not a database" * 100)
        with opened(path):
            pass
    names = sorted(file.name for file in tmp_path.glob("spool.db.unreadable-*"))
    assert names == [f"spool.db.unreadable-{10**9 + second}" for second in range(3, 8)]


@pytest.mark.parametrize("kind", ["pipe", "folder", "nul", "endless name"])
def test_what_is_no_file_is_not_waited_for(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One line, and events wait in memory."""
    path = tmp_path / {"nul": "a\0b", "endless name": "a" * 300}.get(kind, "spool.db")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    with opened(path) as spool:
        spool.add(Message("edge/d/event", b"x", 1, False))
        spool.tick(time.monotonic() + 60)
        assert len(drained(spool)) == 1
    assert len(caplog.records) == 1
    assert "events wait in memory" in caplog.text


def test_draining_costs_the_same_for_each_event(tmp_path: Path) -> None:
    """Four times as many events take about four times the calls, not sixteen."""
    calls = []
    for many in (1000, 4000):
        path = tmp_path / f"{many}.db"
        written(path, [good(n) for n in range(1, many + 1)])
        with opened(path) as spool:
            count = 0

            def traced(frame: object, event: str, _: object) -> object:
                nonlocal count
                count += event == "line"
                return traced

            sys.settrace(traced)  # type: ignore[arg-type]
            try:
                drained(spool)
            finally:
                sys.settrace(None)
            calls.append(count)
    assert calls[1] < 5 * calls[0]
