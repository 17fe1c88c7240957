"""The file of the history: labels, events and figures of the last days, in SQLite. Bounded.

Rule 1: what is older than KEPT_S goes, and the oldest once the file is near BYTES_MAX.
Rule 2: a kill costs what was not written yet; a loss of power may cost a little more (WAL without a
        sync at each write: an SD card wears out by them), and never the file.
Rule 3: a file that is damaged is moved aside, and a new one begins.

Used by one thread at a time; readers have connections of their own. Raises sqlite3.Error.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

log = logging.getLogger(__name__)
KEPT_S: Final = 7 * 86_400.0
BYTES_MAX: Final = 20_000_000
"""Of the file and its log together."""
PAGE_BYTES: Final = 4096
PAGES_MAX: Final = 4_200
"""Of the file: 17 MB; the log has the rest."""
PAGES_FULL: Final = 3_600
"""Used pages beyond which the oldest rows go."""
DROP: Final = 0.1
"""The share of the rows that goes then."""
BUSY_S: Final = 2.0
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS labels (since REAL PRIMARY KEY, until REAL NOT NULL, label TEXT)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, ts REAL NOT NULL, payload TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_ts ON events (ts);
CREATE TABLE IF NOT EXISTS figures (ts REAL PRIMARY KEY, fps REAL, temperature_c REAL,
    memory_bytes REAL, latency_p50_ms REAL, latency_p99_ms REAL, invoke_p50_ms REAL,
    drift_psi_max REAL) WITHOUT ROWID;
"""
TABLES: Final = {"labels": "until", "events": "ts", "figures": "ts"}
"""Table -> the column of its age."""


class Stretch(NamedTuple):
    """A time in which the label was the same; None: uncertain."""

    since: float
    until: float
    label: str | None


class Happened(NamedTuple):
    """An event. payload: JSON."""

    id: str
    ts: float
    payload: str


class Figures(NamedTuple):
    """What telemetry says; None for what the device does not have."""

    ts: float
    fps: float | None
    temperature_c: float | None
    memory_bytes: float | None
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    invoke_p50_ms: float | None
    drift_psi_max: float | None


class HistoryFile:
    """The file at ``path``; it is opened, and made, by the first use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: sqlite3.Connection | None = None

    def write(self, rows: Iterable[Stretch | Happened | Figures], now_s: float) -> None:
        """Write rows in one transaction; remove what is too old, or too much."""
        try:
            connection = self._connection()
            with connection:
                for row in rows:
                    _write(connection, row)
                self._trim(connection, now_s)
        except sqlite3.Error:
            self.close()  # it is checked when it is opened again
            raise

    def newest_stretch(self) -> Stretch | None:
        """Return the last stretch; None in an empty file."""
        query = "SELECT since, until, label FROM labels ORDER BY since DESC LIMIT 1"
        found = self._connection().execute(query).fetchone()
        return Stretch(*found) if found else None

    def close(self) -> None:
        """Close it."""
        if self._open is not None:
            with contextlib.suppress(sqlite3.Error):
                self._open.close()
            self._open = None

    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            self._open = self._checked()
        return self._open

    def _checked(self) -> sqlite3.Connection:
        """Return the file, opened; a damaged one is moved aside first."""
        if not _is_regular(self._path):
            self._aside("no regular file")
        try:
            return _prepared(self._path)
        except sqlite3.DatabaseError as exc:
            if not _is_damaged(exc):
                raise
            self._aside(exc)
        return _prepared(self._path)

    def _aside(self, reason: object) -> None:
        """Move a damaged file aside, over an older one; its log goes."""
        self.close()
        aside = self._path.with_name(f"{self._path.name}.damaged")
        with contextlib.suppress(OSError):
            os.replace(self._path, aside)
            log.warning("history: %s is damaged (%s): moved to %s", self._path, reason, aside)
        for ending in ("-wal", "-shm"):
            with contextlib.suppress(OSError):
                os.unlink(f"{self._path}{ending}")

    def _trim(self, connection: sqlite3.Connection, now_s: float) -> None:
        for table, column in TABLES.items():
            connection.execute(f"DELETE FROM {table} WHERE {column} < ?", (now_s - KEPT_S,))
        if _used_pages(connection) <= PAGES_FULL:
            return
        for table, column in TABLES.items():
            (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            query = f"SELECT {column} FROM {table} ORDER BY {column} LIMIT 1 OFFSET ?"
            edge = connection.execute(query, (int(count * DROP),)).fetchone()
            if edge is not None:
                connection.execute(f"DELETE FROM {table} WHERE {column} < ?", edge)


def _write(connection: sqlite3.Connection, row: Stretch | Happened | Figures) -> None:
    if isinstance(row, Stretch):
        connection.execute(
            "INSERT INTO labels VALUES (?, ?, ?)"
            " ON CONFLICT (since) DO UPDATE SET until = max(until, excluded.until)",
            row,
        )
    elif isinstance(row, Happened):
        connection.execute("INSERT OR IGNORE INTO events VALUES (?, ?, ?)", row)
    else:
        marks = ", ".join("?" * len(row))
        connection.execute(f"INSERT OR IGNORE INTO figures VALUES ({marks})", row)


def _prepared(path: Path) -> sqlite3.Connection:
    """Return a connection to a file that is whole and has the tables."""
    _make(path)
    connection = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint = 200")
        connection.execute("PRAGMA journal_size_limit = 1000000")
        connection.execute(f"PRAGMA max_page_count = {PAGES_MAX}")
        if (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(f"malformed: {found}")
        connection.executescript(SCHEMA)
        for table, kind in (("labels", Stretch), ("events", Happened), ("figures", Figures)):
            connection.execute(f"SELECT {', '.join(kind._fields)} FROM {table} LIMIT 1")
    except BaseException:
        connection.close()
        raise
    return connection


def _make(path: Path) -> None:
    """Make the file, for its owner alone. Raises sqlite3.Error. SQLite's others get its mode."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.close(file)
    except OSError as exc:
        raise sqlite3.OperationalError(exc.strerror or str(exc)) from exc


def _used_pages(connection: sqlite3.Connection) -> int:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return int(pages) - int(free)


def _is_damaged(exc: sqlite3.Error) -> bool:
    """Return whether an error is the file's own: not of a full disk, a lock or a read-only one."""
    text = str(exc)
    return not isinstance(exc, sqlite3.OperationalError) or "no such column" in text


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return True  # there is none yet
