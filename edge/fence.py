"""A limit on the memory that native code allocates for a source; OpenCV can set none in FFmpeg.

The kernel keeps it: RLIMIT_DATA counts every private writable page of the process, so an allocation
beyond the limit fails inside FFmpeg, which gives up before any of it is taken. The limit is the
whole process's, so it has room for the rest of the daemon, and ``is_close`` says when that is
nearly used up, while some is still left.

Any thread may call it: [1] marks what ``_changing`` guards. Knows no camera. Source: setrlimit(2);
since Linux 4.7 also for mmap.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import threading
import time
from collections.abc import Iterator
from typing import Final

log = logging.getLogger(__name__)

ROOM_BYTES: Final = 60_000_000
"""To open a source, without its pictures: FFmpeg (10 MB), new threads, and the reserve."""
RESERVE_BYTES: Final = 24_000_000
"""For the rest of the daemon: two thread stacks, and its allocations from read to read."""
PIXEL_BYTES: Final = 45
"""Of a decoder: 18 frames of 1.5 bytes a pixel; BGR once in OpenCV, three times here, twice in use.

Measured: 25 in all, H.264 with eight reference frames, at 3840x2160 and at 4608x2592.
"""
STACK_BYTES: Final = 8_400_000
"""Of a thread: counted in full, little of it ever used."""
_PAGE_BYTES: Final = resource.getpagesize()
_STATM: Final = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
"""Kept open: it is read for each frame, in 1 us instead of 10."""
_changing = threading.RLock()
"""Reentrant: a forgotten source may be collected, and its fence lifted, while it is held."""
_fences: set[Fence] = set()  # [1]
_outside: tuple[int, int] | None = None  # [1]
"""The limits of the process as they were before the first fence; None until there is one."""
_lifted = 0  # [1]


def allocated_bytes() -> int:
    """Return what RLIMIT_DATA counts of this process. Source: proc(5), statm."""
    return int(os.pread(_STATM, 256, 0).split()[5]) * _PAGE_BYTES


class Fence:
    """In force until ``lift``, ``room_bytes`` above what is allocated now.

    threads  of the decoder
    """

    def __init__(self, threads: int = 0) -> None:
        global _outside
        self._threads = threads
        self.room_bytes = ROOM_BYTES + threads * STACK_BYTES
        self._base, self._given = allocated_bytes(), 0
        with _changing:
            if not _fences:
                _outside = resource.getrlimit(resource.RLIMIT_DATA)
            _fences.add(self)
            _apply()

    @property
    def limit(self) -> int:
        """Bytes allocated by the whole process beyond which an allocation fails."""
        return self._base + self.room_bytes + self._given

    def widen(self, pixels: int) -> None:
        """Make room for a decoder of pictures with ``pixels`` pixels."""
        with _changing:
            frames = PIXEL_BYTES * pixels + 3 * pixels // 2 * self._threads
            self.room_bytes = ROOM_BYTES + self._threads * STACK_BYTES + frames
            _apply()

    def is_close(self) -> bool:
        """Return whether less than the reserve is left; the daemon then gets it again, once."""
        with _changing:
            if self not in _fences or allocated_bytes() < self.limit - RESERVE_BYTES:
                return False
            self._given = RESERVE_BYTES
            _apply()
            return True

    def taken_bytes(self) -> int:
        """Return by how much the process has grown since the fence was made."""
        return allocated_bytes() - self._base

    def lift(self) -> None:
        """Let the process allocate as before; safe to call twice. Raises no MemoryError."""
        while True:
            try:
                with _changing:
                    _fences.discard(self)
                    _apply()
                return
            except MemoryError:
                time.sleep(0.01)  # others have used the last of it, and must free some


@contextlib.contextmanager
def lifted() -> Iterator[None]:
    """Let the process allocate freely inside, and keep that afterwards: to load a model."""
    global _lifted
    with _changing:
        before = allocated_bytes()
        _lifted += 1
        _apply()
    try:
        yield
    finally:
        with _changing:
            for fence in tuple(_fences):
                fence._base += max(0, allocated_bytes() - before)
            _lifted -= 1
            _apply()


def _apply() -> None:
    """[1] Set the kernel's limit to the widest of all fences."""
    if _outside is None:
        return
    soft, hard = _outside
    if _fences and not _lifted:
        widest = max(fence.limit for fence in tuple(_fences))
        soft = widest if soft == resource.RLIM_INFINITY else min(soft, widest)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    except (OSError, ValueError) as exc:  # a sandbox that forbids it
        log.warning("the memory of a source cannot be limited: %s", exc)
