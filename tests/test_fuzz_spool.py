"""Spools with any rows and any bytes: opened, never an exception, nothing delivered but events."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.messages import Message
from edge.mqtt.spool import Spool
from tests.fuzz import corpus, fuzz, mutated

MEMORY = Path("/dev/shm")
EVENT = Message("edge/d/event", b"{}", 1, False)
TABLES = (
    "CREATE TABLE events (number INTEGER PRIMARY KEY, topic TEXT, qos INTEGER, payload BLOB)",
    "CREATE TABLE events (number INTEGER PRIMARY KEY, topic, qos, payload)",
    "CREATE TABLE events (number INTEGER, topic, qos, payload)",
)
LONG = {"a long topic": "t" * 70_000, "a long payload": bytes(4000)}
NUMBERS = st.one_of(st.integers(-2, 40), st.sampled_from((2**62, 2**62 + 1, 2**63 - 1, -(2**63))))
TEXTS = st.one_of(st.sampled_from(("edge/d/event", "edge/#", "")), st.text(max_size=20))
VALUES = st.one_of(
    *(st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(), TEXTS),
    *(st.binary(max_size=2000), st.sampled_from(tuple(LONG))),
)
ROWS = st.lists(st.tuples(NUMBERS, TEXTS | VALUES, st.integers(0, 2) | VALUES, VALUES), max_size=12)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Give a folder; one for each example."""
    path = Path(tempfile.mkdtemp(prefix="edge-spool-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def check(path: Path, events_max: int = 10, bytes_max: int = 10_000) -> None:
    """Open what is there twice, drain it, and use it."""
    for turn in itertools.count():
        spool = Spool(path, events_max, bytes_max)
        assert len(spool) <= events_max
        at, held = 0, 0
        while item := spool.after(at):
            assert item[0] > at
            at, message = item
            held += len(message.payload)
            assert 0 < len(message.topic.encode()) <= 65_535
            assert not set(message.topic) & set("+#\0")
            assert message.qos in (0, 1, 2)
            assert isinstance(message.payload, bytes)
            spool.done(at)
        assert held <= bytes_max
        assert len(spool) == 0
        assert spool.add(EVENT) > at
        assert spool.volatile == 0
        spool.close()
        if turn:
            assert (at > 0, held) == (True, len(EVENT.payload)), "what the first left"
            return


@pytest.mark.fuzz
@fuzz(300)
@given(table=st.sampled_from(TABLES), rows=ROWS)
def test_rows_of_any_types(table: str, rows: list[tuple[object, ...]]) -> None:
    """SQLite keeps any value in any column; only events are delivered, the file stays of use."""
    with folder() as there:
        path = there / "spool.db"
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute("PRAGMA page_size = 512")
            database.execute(table)
            for row in rows:
                with contextlib.suppress(sqlite3.Error, UnicodeEncodeError):
                    values = [LONG.get(v, v) if isinstance(v, str) else v for v in row]
                    database.execute("INSERT INTO events VALUES (?, ?, ?, ?)", values)
        check(path)


@pytest.mark.fuzz
@fuzz(300)
@given(content=mutated(corpus("spool")), log=st.none() | mutated(corpus("spool")))
def test_files_of_any_bytes(content: bytes, log: bytes | None) -> None:
    """A damaged file, with another beside it in the place of a log."""
    with folder() as there:
        path = there / "spool.db"
        path.write_bytes(content)
        if log is not None:
            (there / ("spool.db-journal" if len(log) % 2 else "spool.db-wal")).write_bytes(log)
        check(path)
