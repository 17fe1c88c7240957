"""Events wait here until the broker has them: on disk, bounded, in order.

Rule 1: an event is written before it is sent and removed after it was acknowledged: a process
        killed at any instant sends it again, with the id that it had.
Rule 2: nothing that happens to the disk stops the daemon. What cannot be written waits in
        memory; a file that cannot be read is set aside and begun anew.
Rule 3: flash wears out. Removals go together with the next event, or after a while; nothing is
        synced for an event that the broker has at once. SQLite keeps the file whole through a loss
        of power; events that wait outlive it once they have waited for SYNC_S.

Knows no broker. One thread, and one for as long as something is synced.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Final

from edge.messages import Message
from edge.types import Seconds

log = logging.getLogger(__name__)
REMOVE_S: Final = 5.0
"""Longest time that an acknowledged event stays on disk; it would be sent again after a kill."""
SYNC_S: Final = 5.0
"""Longest time that an event which waits is only the kernel's, and would go with the power."""
IN_MEMORY: Final = 1000
"""Events kept while the disk does not take them."""
SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY, topic TEXT NOT NULL,"
    " qos INTEGER NOT NULL, payload BLOB NOT NULL)"
)


class Spool:
    """A queue of events, each under a number; numbers only grow.

    path        the database; None for memory alone
    events_max  beyond which the oldest is dropped and counted
    bytes_max   the same, of all payloads together
    """

    def __init__(self, path: Path | None, events_max: int, bytes_max: int) -> None:
        self._path, self._events_max, self._bytes_max = path, events_max, bytes_max
        self._waiting: dict[int, int] = {}  # number -> bytes, oldest first
        self._memory: dict[int, Message] = {}  # what is not on disk
        self._gone: list[tuple[int]] = []  # acknowledged, and still on disk
        self._gone_since_s = 0.0
        self._unsynced_since_s: float | None = 0.0  # of what the process before this one wrote
        self._failing = False
        self.dropped_total = 0
        """Events that gave way to newer ones, could not be read again, or were set aside."""
        self.set_aside_total = 0
        """Of those, the ones that the broker cannot have."""
        self.failures_total = 0
        """Events that the disk did not take."""
        self._database = self._open(path) if path else None
        self._bytes = sum(self._waiting.values())
        self._last = max(self._waiting, default=0)

    def __len__(self) -> int:
        """Return how many events wait."""
        return len(self._waiting)

    @property
    def volatile(self) -> int:
        """How many of them end with the process."""
        return len(self._memory)

    def add(self, message: Message) -> int:
        """Keep ``message``; return its number."""
        size = len(message.payload)
        while self._waiting and (
            len(self._waiting) >= self._events_max or self._bytes + size > self._bytes_max
        ):
            self._drop(next(iter(self._waiting)))
        self._last += 1
        if not self._write(message):
            self.failures_total += self._path is not None
            self._memory[self._last] = message
            if len(self._memory) > IN_MEMORY:
                self._drop(next(iter(self._memory)))
        self._waiting[self._last] = size
        self._bytes += size
        return self._last

    def after(self, number: int) -> tuple[int, Message] | None:
        """Return the first event that waits after ``number``, with its own number."""
        if number >= self._last:
            return None
        for other in [other for other in self._waiting if other > number]:
            message = self._memory.get(other) or self._read(other)
            if message is not None:
                return other, message
            self._drop(other)
        return None

    def done(self, number: int) -> None:
        """Forget an event that the broker has acknowledged."""
        size = self._waiting.pop(number, None)
        if size is None:
            return
        self._bytes -= size
        if self._memory.pop(number, None) is None:
            if not self._gone:
                self._gone_since_s = time.monotonic()
            self._gone.append((number,))

    def set_aside(self, number: int) -> None:
        """Take an event that the broker cannot have out of the queue, and count it."""
        if number in self._waiting:
            self.set_aside_total += 1
            self._drop(number)

    def tick(self, now_s: Seconds) -> None:
        """Remove from the disk what has been acknowledged for a while; sync what has not been."""
        if self._gone and now_s - self._gone_since_s >= REMOVE_S:
            self._write(None)
        if not self._waiting or self._database is None:
            self._unsynced_since_s = None
        elif self._unsynced_since_s is not None and now_s - self._unsynced_since_s >= SYNC_S:
            self._unsynced_since_s = None
            threading.Thread(target=self._sync, name="spool-sync", daemon=True).start()

    def close(self) -> None:
        """Remove what is done; the rest stays on disk for the next run."""
        if self._database is not None:
            if self._gone:
                self._write(None)
            self._database.close()

    def _drop(self, number: int) -> None:
        self.dropped_total += 1
        self.done(number)

    def _write(self, message: Message | None) -> bool:
        """Write all removals, what was kept in memory and one event at once; whether it went."""
        if self._database is None:
            return False
        new = self._memory | ({self._last: message} if message else {})
        try:
            with self._database:
                self._database.executemany("DELETE FROM events WHERE number = ?", self._gone)
                self._database.executemany(
                    "INSERT INTO events VALUES (?, ?, ?, ?)",
                    [(number, m.topic, m.qos, m.payload) for number, m in new.items()],
                )
        except sqlite3.Error as exc:
            self._gone_since_s = time.monotonic()  # again, but not at every tick
            if not self._failing:
                log.warning("spool %s: %s; new events wait in memory", self._path, exc)
            self._failing = True
            return False
        if self._failing:
            log.info("spool %s: takes events again", self._path)
        self._failing = False
        self._gone.clear()
        self._memory.clear()
        if new and self._unsynced_since_s is None:
            self._unsynced_since_s = time.monotonic()
        return True

    def _sync(self) -> None:
        """Make the write-ahead log outlive the power; on a thread, for a card may take a second."""
        assert self._path is not None
        try:
            with self._path.with_name(f"{self._path.name}-wal").open("rb") as file:
                os.fsync(file.fileno())
        except OSError as exc:
            log.warning("spool %s: cannot be synced: %s", self._path, exc)

    def _read(self, number: int) -> Message | None:
        if self._database is None:
            return None
        try:
            row = self._database.execute(
                "SELECT topic, payload, qos FROM events WHERE number = ?", (number,)
            ).fetchone()
        except sqlite3.Error as exc:
            log.warning("spool %s: an event cannot be read again: %s", self._path, exc)
            return None
        return Message(row[0], row[1], row[2], False) if row else None

    def _open(self, path: Path) -> sqlite3.Connection | None:
        """Return the database with what waits in it counted; None where there can be none."""
        for attempt in ("first", "anew"):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                return self._connect(path)
            except sqlite3.OperationalError as exc:  # locked, read-only, full: the file may be good
                log.warning("spool %s: %s; events wait in memory", path, exc)
                return None
            except sqlite3.DatabaseError as exc:
                aside = path.with_name(f"{path.name}.unreadable-{time.time_ns() // 10**9}")
                log.warning("spool %s: %s; set aside as %s (%s)", path, exc, aside.name, attempt)
                for suffix in ("", "-wal"):
                    if (file := path.with_name(path.name + suffix)).exists():
                        file.replace(aside.with_name(aside.name + suffix))
            except OSError as exc:
                log.warning("spool %s: %s; events wait in memory", path, exc)
                return None
        return None

    def _connect(self, path: Path) -> sqlite3.Connection:
        database = sqlite3.connect(path, timeout=1.0, cached_statements=16)
        try:
            database.execute("PRAGMA page_size = 512")  # an event writes one page; of 4096: 8 x
            database.execute("PRAGMA locking_mode = EXCLUSIVE")  # one daemon, no shared memory
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            with database:
                database.execute(SCHEMA)
            rows = database.execute("SELECT number, length(payload) FROM events ORDER BY number")
            self._waiting = dict(rows.fetchall())
        except sqlite3.Error:
            database.close()
            raise
        return database
