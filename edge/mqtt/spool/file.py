"""The spool's database, whatever program wrote it: opened, checked, read and written.

Rule 1: nothing in it is trusted. Rows that are not events are moved into its table ``set_aside``;
        an unreadable file, or another program's, is renamed and a new one created.
Rule 2: each fault is logged in one line, with a count, and stops nothing.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from edge.messages import Message
from edge.mqtt.spool import rows
from edge.mqtt.spool.rows import Row
from edge.text import escaped

log = logging.getLogger(__name__)
LARGE: Final = rows.NUMBER_MAX // 2
KEPT_FILES: Final = 5
"""Most files set aside; the oldest beyond them is removed."""
SUFFIXES: Final = ("", "-wal", "-journal", "-shm")
OTHER_HAS_IT: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
PASSING: Final = {
    *(*OTHER_HAS_IT, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY),
    *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH),
}
"""SQLite's errors for which the file itself may be good."""


class SpoolFile:
    """An open database.

    waiting    number -> bytes of the payload, oldest first
    last       largest number among them
    set_aside  count of rows that were not events
    dropped    count of the oldest events, beyond the bounds
    Raises OSError, sqlite3.Error, ValueError for another program's database.
    """

    def __init__(self, path: Path, events_max: int, bytes_max: int, lock_s: float) -> None:
        self._path, self._bytes_max = path, bytes_max
        self.waiting: dict[int, int] = {}
        self.last = self.set_aside = self.dropped = self._held = 0
        self._fault = ""
        if path.exists() and not path.is_file():  # SQLite would block on a pipe
            raise OSError(errno.EINVAL, "is not a regular file")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, timeout=lock_s, cached_statements=16)
        try:
            self._prepare()
            self._load(events_max)
        except BaseException:
            self._database.close()
            raise

    def write(self, gone: list[tuple[int]], new: dict[int, Message]) -> None:
        """Write removals and new events, all or nothing. Raises sqlite3.Error."""
        with self._database:
            self._database.executemany("DELETE FROM events WHERE number = ?", gone)
            self._database.executemany(
                "INSERT INTO events VALUES (?, ?, ?, ?)",
                [(number, m.topic, m.qos, m.payload) for number, m in new.items()],
            )

    def read(self, number: int) -> Message | None:
        """Return an event, None if the row is no longer an event. Raises sqlite3.Error."""
        row = self._database.execute(
            "SELECT topic, payload, qos FROM events WHERE number = ?", (number,)
        ).fetchone()
        if row is None or not isinstance(row[0], bytes) or not isinstance(row[1], bytes):
            return None
        topic, payload, qos = row
        if rows.fault(topic, qos, len(payload), self._bytes_max):
            return None
        return Message(topic.decode(), payload, qos, False)

    def move(self, number: int, why: str) -> None:
        """Move an event into ``set_aside``. Raises sqlite3.Error."""
        with _limit(self._database, rows.CUT_BYTES), self._database:
            rows.move(self._database, [Row(number, 0, why)])

    def renumber(self, after: int) -> None:
        """Give the events numbers beyond ``after``, in their order. Raises sqlite3.Error.

        Done only if some are not beyond it, or are so large that there is no room for more.
        """
        if not self.waiting or (min(self.waiting) > after and self.last <= LARGE):
            return
        numbers = [(-(after + n), number) for n, number in enumerate(self.waiting, 1)]
        with self._database:  # in two steps: numbers must stay unique
            self._database.executemany("UPDATE events SET number = ? WHERE number = ?", numbers)
            self._database.execute("UPDATE events SET number = -number WHERE number < 0")
        self.waiting = {after + n: size for n, size in enumerate(self.waiting.values(), 1)}
        self.last = after + len(self.waiting)

    def sync(self) -> None:
        """Make the write-ahead log outlive a loss of power; an SD card may take seconds.

        [1] Runs on a thread and a descriptor of its own. Of this object it reads only the
        path, which never changes.
        """
        try:
            with self._path.with_name(f"{self._path.name}-wal").open("rb") as file:
                os.fsync(file.fileno())
        except FileNotFoundError:
            log.debug("spool %s: nothing to sync, closed meanwhile", self._path)
        except OSError as exc:
            log.warning("spool %s: cannot be synced: %s", self._path, exc)

    def close(self) -> None:
        """Close; waiting events stay on disk."""
        self._database.close()

    def _prepare(self) -> None:
        database = self._database
        database.text_factory = bytes  # text that is not UTF-8 must not raise
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, self._bytes_max + rows.CUT_BYTES)
        database.execute("PRAGMA trusted_schema = OFF")
        database.execute("PRAGMA page_size = 512")  # an event writes one page, else of 4096 bytes
        database.execute("PRAGMA locking_mode = EXCLUSIVE")  # one daemon, no shared memory
        if foreign := rows.foreign(database):
            raise ValueError(f"is another program's database: it has a {escaped(foreign, 100)}")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA secure_delete = FAST")  # Debian's ON rewrites removed pages
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != b"ok":
            raise sqlite3.DatabaseError(verdict.decode(errors="replace"))
        with database:
            database.execute(rows.EVENTS)

    def _load(self, events_max: int) -> None:
        """Take the events, newest first, up to the bounds; drop older ones."""
        last_fault = ""
        with _limit(self._database, rows.CUT_BYTES):
            for chunk in rows.judged(self._database, self._bytes_max):
                if faults := [row for row in chunk if row.fault]:
                    room = max(0, rows.ASIDE_ROWS - self.set_aside)
                    self.set_aside += len(faults)
                    last_fault = last_fault or f"number {faults[0].number}: {faults[0].fault}"
                    self._alter(partial(rows.move, self._database, faults, room))
                good = [row for row in chunk if not row.fault]
                if beyond := self._take(good, events_max):
                    self._alter(partial(self._drop, beyond))
                    break
        self.waiting = dict(reversed(self.waiting.items()))
        self.last = max(self.waiting, default=0)
        if self.set_aside:
            text = "spool %s: %d rows are not events, the last is %s; %s"
            where = self._fault or f"the newest {rows.ASIDE_ROWS} are kept in its table set_aside"
            log.warning(text, self._path, self.set_aside, last_fault, where)
        if self.dropped:
            text = (
                "spool %s: dropped the %d oldest events: at most %d of %d bytes together are kept"
            )
            log.warning(text, self._path, self.dropped, events_max, self._bytes_max)

    def _take(self, events: list[Row], events_max: int) -> int:
        """Take ``events``; return the number of the first for which there is no room, or 0."""
        for number, size, _ in events:
            self._held += size
            if len(self.waiting) == events_max or self._held > self._bytes_max:
                return number
            self.waiting[number] = size
        return 0

    def _drop(self, number: int) -> None:
        """Remove the event ``number`` and all before it."""
        count = "SELECT count(*) FROM events WHERE number <= ?"
        (self.dropped,) = self._database.execute(count, (number,)).fetchone()
        self._database.execute("DELETE FROM events WHERE number <= ?", (number,))

    def _alter(self, change: Callable[[], None]) -> None:
        """Make ``change``, or leave the rows as they are until the next start."""
        try:
            with self._database:
                change()
        except sqlite3.Error as exc:
            self._fault = f"they cannot be moved: {exc}"


def open_file(path: Path, events_max: int, bytes_max: int, lock_s: float) -> SpoolFile:
    """Open the database ``path``; set an unreadable one, or another program's, aside first.

    lock_s  longest wait for another process to release it
    Raises OSError with a ``strerror`` for the log: EBUSY if another process has it.
    """
    try:
        return _opened(path, events_max, bytes_max, lock_s)
    except (sqlite3.DatabaseError, ValueError) as exc:
        _set_aside(path, str(exc))
    try:
        return _opened(path, events_max, bytes_max, lock_s)
    except (sqlite3.DatabaseError, ValueError) as exc:
        raise OSError(errno.EIO, str(exc)) from exc


def _opened(path: Path, events_max: int, bytes_max: int, lock_s: float) -> SpoolFile:
    """Open the database; raise OSError for faults that are not the content's."""
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "is not a file's name")
    try:
        return SpoolFile(path, events_max, bytes_max, lock_s)
    except sqlite3.Error as exc:
        code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code in OTHER_HAS_IT:
            raise OSError(errno.EBUSY, f"{exc}: another process uses it") from exc
        if code in PASSING:
            raise OSError(errno.EIO, str(exc)) from exc
        raise


def _set_aside(path: Path, why: str) -> None:
    """Rename the database ``path``; keep the newest KEPT_FILES such files. Raises OSError."""
    prefix = f"{path.name}.unreadable-"
    aside = path.with_name(f"{prefix}{time.time_ns() // 10**9}")
    for suffix in SUFFIXES:  # SQLite would replay a remaining log into the new file
        if (file := path.with_name(path.name + suffix)).exists():
            file.replace(aside.with_name(aside.name + suffix))
    log.warning("spool %s: %s; set aside as %s, a new one created", path, escaped(why), aside.name)
    old = sorted(name for name in os.listdir(path.parent) if name.startswith(prefix))
    whole = [name for name in old if not name.endswith(SUFFIXES[1:])]
    for name in whole[:-KEPT_FILES]:
        for suffix in SUFFIXES:
            path.with_name(name + suffix).unlink(missing_ok=True)


@contextlib.contextmanager
def _limit(database: sqlite3.Connection, longest: int) -> Iterator[None]:
    """Let SQLite refuse values and rows beyond ``longest`` bytes in the block."""
    before = database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, longest)
    try:
        yield
    finally:
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, before)
