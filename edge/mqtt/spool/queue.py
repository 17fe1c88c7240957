"""The queue of events: numbers, bounds, and events in memory while the disk fails.

Rule 1: an event is written before it is sent and removed after it was acknowledged: a process
        killed at any instant sends it again, with the same id.
Rule 2: no fault of the disk stops the daemon. What cannot be written waits in memory, and is
        written when the disk works again.
Rule 3: flash wears out. Removals are written together with the next event, or after a while;
        nothing is synced for an event that the broker has at once. SQLite keeps the file intact
        through a loss of power; events survive it once they have waited for SYNC_S.

Knows no broker. Runs on the caller's thread, except

[1] one more thread while a sync runs, never two: it calls ``SpoolFile.sync``, which says what it
    uses. It is never joined: a disk may not answer.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from bisect import bisect_right
from pathlib import Path
from typing import Final

from edge.messages import Message, Seconds
from edge.mqtt.spool.file import SpoolFile, open_file

log = logging.getLogger(__name__)
REMOVE_S: Final = 5.0
"""Longest time that an acknowledged event stays on disk; a kill meanwhile repeats it."""
SYNC_S: Final = 5.0
"""Longest time that a waiting event is only in the kernel's cache, and lost with the power."""
IN_MEMORY: Final = 1000
"""Most events in memory while the disk fails."""
LOCK_S: Final = 1.0
"""Longest wait at the start for another process to release the file."""
REOPEN_S: Final = 30.0
"""How often a file that could not be opened is tried again."""
REPORT_S: Final = 60.0
"""A disk that fails again within this time is not logged again."""


class Spool:
    """A queue of events, each under a number; numbers only grow.

    path        the database; None: memory only
    events_max  beyond it the oldest is dropped and counted
    bytes_max   the same, for all payloads together
    """

    def __init__(self, path: Path | None, events_max: int, bytes_max: int) -> None:
        self._path, self._events_max, self._bytes_max = path, events_max, bytes_max
        self._waiting: dict[int, int] = {}  # number -> bytes, oldest first
        self._order: list[int] = []  # the same numbers, and some already removed
        self._oldest = 0  # index of the first that may still wait
        self._bytes = self._last = 0
        self._memory: dict[int, Message] = {}  # events not on disk
        self._gone: list[tuple[int]] = []  # acknowledged, and still on disk
        self._gone_since_s = 0.0
        self._unsynced_since_s: float | None = 0.0  # of events of the previous process
        self._failing = self._reported = self._unreadable = False
        self._report_at_s = self._reopen_at_s = 0.0
        self.dropped_total = 0
        """Events dropped for newer ones, unreadable on disk, or set aside."""
        self.set_aside_total = 0
        """Of those, events that the broker refuses, and rows that are not events."""
        self.failures_total = 0
        """Events that could not be written to disk."""
        self._sync: threading.Thread | None = None  # [1]
        self._file: SpoolFile | None = None
        if path is not None:
            self._open(path, LOCK_S)

    def __len__(self) -> int:
        """Return how many events wait."""
        return len(self._waiting)

    @property
    def volatile(self) -> int:
        """How many of them are lost with the process."""
        return len(self._memory)

    def add(self, message: Message) -> int:
        """Queue ``message``; return its number."""
        size = len(message.payload)
        self._last += 1
        if size > self._bytes_max:  # it would displace all others, then be dropped itself
            self.dropped_total += 1
            return self._last
        self._make_room(self._events_max - 1, self._bytes_max - size)
        if not self._write(message):
            self.failures_total += self._path is not None
            self._memory[self._last] = message
            if len(self._memory) > IN_MEMORY:
                self._drop(next(iter(self._memory)))
        self._wait(self._last, size)
        return self._last

    def after(self, number: int) -> tuple[int, Message] | None:
        """Return the first event after ``number``, with its own number."""
        at = bisect_right(self._order, number, self._first())
        while at < len(self._order):
            other = self._order[at]
            if other in self._waiting:
                message = self._memory.get(other) or self._read(other)
                if message is not None:
                    return other, message
                self._drop(other)
            at += 1
        return None

    def done(self, number: int) -> None:
        """Remove an event that the broker has acknowledged."""
        size = self._waiting.pop(number, None)
        if size is None:
            return
        self._bytes -= size
        if self._memory.pop(number, None) is None:
            if not self._gone:
                self._gone_since_s = time.monotonic()
            self._gone.append((number,))

    def set_aside(self, number: int) -> None:
        """Take an event that the broker refuses out of the queue, and count it."""
        if number not in self._waiting:
            return
        self.set_aside_total += 1
        if self._file is not None and number not in self._memory:
            with contextlib.suppress(sqlite3.Error):  # then removed like an acknowledged one
                self._file.move(number, "the broker cannot take it")
        self._drop(number)

    def tick(self, now_s: Seconds) -> None:
        """Remove from disk what was acknowledged a while ago; sync what still waits."""
        if self._file is None and self._path and now_s >= self._reopen_at_s:
            self._open(self._path, 0.0)
        if (self._gone or self._memory) and now_s - self._gone_since_s >= REMOVE_S:
            self._write(None)
        if not self._waiting or self._file is None:
            self._unsynced_since_s = None
        elif self._unsynced_since_s is not None and now_s - self._unsynced_since_s >= SYNC_S:
            self._begin_sync(self._file)

    def close(self) -> None:
        """Remove what was acknowledged; the rest stays on disk for the next run."""
        if self._file is not None:
            if self._gone or self._memory:
                self._write(None)
            self._file.close()

    def _begin_sync(self, file: SpoolFile) -> None:
        """Sync on a thread [1], unless the previous one still waits for the disk."""
        if self._sync is not None and self._sync.is_alive():
            return
        thread = threading.Thread(target=file.sync, name="spool-sync", daemon=True)
        with contextlib.suppress(RuntimeError):  # no thread left: retried at the next tick
            thread.start()
            self._sync, self._unsynced_since_s = thread, None

    def _wait(self, number: int, size: int) -> None:
        self._waiting[number] = size
        self._bytes += size
        if len(self._order) > 2 * len(self._waiting) + 64:
            self._order, self._oldest = list(self._waiting), 0
        else:
            self._order.append(number)

    def _first(self) -> int:
        """Return the index in ``_order`` of the oldest waiting event."""
        while self._oldest < len(self._order) and self._order[self._oldest] not in self._waiting:
            self._oldest += 1
        return self._oldest

    def _make_room(self, events: int, size: int) -> None:
        """Drop the oldest until at most so many events and bytes are left."""
        while self._waiting and (len(self._waiting) > events or self._bytes > size):
            self._drop(self._order[self._first()])

    def _drop(self, number: int) -> None:
        self.dropped_total += 1
        self.done(number)

    def _write(self, message: Message | None) -> bool:
        """Write all removals, the events in memory and ``message`` at once; return success."""
        if self._file is None:
            return False
        new = self._memory | ({self._last: message} if message else {})
        now_s = time.monotonic()
        try:
            self._file.write(self._gone, new)
        except sqlite3.Error as exc:
            self._gone_since_s = now_s  # retried, but not at every tick
            if not self._failing and now_s >= self._report_at_s:
                log.warning("spool %s: %s; new events wait in memory", self._path, exc)
                self._report_at_s = now_s + REPORT_S
                self._reported = True
            self._failing = True
            return False
        if self._failing and self._reported:
            log.info("spool %s: takes events again", self._path)
            self._reported = False
        self._failing = False
        self._gone.clear()
        self._memory.clear()
        if new and self._unsynced_since_s is None:
            self._unsynced_since_s = now_s
        return True

    def _read(self, number: int) -> Message | None:
        if self._file is None:
            return None
        try:
            return self._file.read(number)
        except sqlite3.Error as exc:
            if not self._unreadable:
                text = "spool %s: an event cannot be read back and is dropped: %s; logged once"
                log.warning(text, self._path, exc)
            self._unreadable = True
        return None

    def _open(self, path: Path, lock_s: float) -> None:
        """Open the file and take over its events; on failure, try again later."""
        try:
            file = open_file(path, self._events_max, self._bytes_max, lock_s)
        except OSError as exc:
            self._reopen_at_s = time.monotonic() + REOPEN_S
            if not self._failing:
                log.warning("spool %s: %s; events wait in memory", path, exc.strerror or exc)
            self._failing = self._reported = True
            return
        try:
            file.renumber(self._last)  # events in memory may have been sent already
        except sqlite3.Error:
            file.close()
            self._reopen_at_s = time.monotonic() + REOPEN_S
            return
        self.set_aside_total += file.set_aside
        self.dropped_total += file.dropped + file.set_aside
        self._file, self._last = file, max(self._last, file.last)
        for number, size in file.waiting.items():
            self._wait(number, size)
        file.waiting.clear()
        self._make_room(self._events_max, self._bytes_max)
        if self._failing:
            self._write(None)
