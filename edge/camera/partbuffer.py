"""Buffer for the bytes of a body that are not yet processed; a large picture is stored apart.

A large picture grows in memory of its own, taken from the system in one piece and returned as soon
as the picture is no longer held: three of them, grown byte by byte, left holes in malloc's heap as
large as four. Pure; it knows neither parts nor pictures.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

LARGE_BYTES: Final = 4_000_000
OWN_BYTES: Final = 40_000_000
"""malloc always takes so much directly from the system; pages never written cost nothing."""
PADDING_BYTES: Final = 64
"""Spaces that may follow a boundary."""
LF: Final = 0x0A
_REST: Final = re.compile(rb"(--)?[ \t]{0,%d}\r?\n" % PADDING_BYTES)
_PARTIAL_REST: Final = re.compile(rb"-{0,2}[ \t]{0,%d}\r?" % PADDING_BYTES)


class PartBuffer:
    """Bytes in the order in which they came.

    held      all that is not stored
    at        place in ``held``: what is before it is processed
    searched  bytes from ``at`` that hold no end of a line, or no boundary
    stored    bytes of a large content that came before ``at``
    """

    def __init__(self) -> None:
        self.held = bytearray()
        self.at = self.searched = self.stored = 0
        self._store: NDArray[np.uint8] | None = None

    @property
    def left(self) -> int:
        """Bytes in ``held`` that are not processed."""
        return len(self.held) - self.at

    @property
    def total_bytes(self) -> int:
        """Bytes that are held or stored."""
        return len(self.held) + self.stored

    def compact(self) -> None:
        """Drop the processed bytes."""
        del self.held[: self.at]
        self.at = 0

    def line(self) -> bytes | None:
        """Take a line, without its end; None if that has not come yet."""
        end = self.held.find(b"\n", self.at + self.searched)
        if end < 0:
            self.searched = self.left
            return None
        line = bytes(self.held[self.at : end])
        self.at, self.searched = end + 1, 0
        return line.rstrip()

    def find(self, boundary: bytes) -> re.Match[bytes] | None:
        """Return what follows the next boundary up to its line's end; None if none came yet.

        The first group matches if the boundary is the last one.
        """
        held = self.held
        start = held.find(boundary, self.at + self.searched)
        while start >= 0:
            end = start + len(boundary)
            alone = boundary.startswith(b"--") or start == self.at or held[start - 1] == LF
            rest = _REST.match(held, end) if alone else None
            if rest is not None:
                return rest
            if alone and _PARTIAL_REST.fullmatch(held, end):
                self.searched = start - self.at
                return None
            start = held.find(boundary, start + 1)
        self.searched = max(self.searched, self.left - len(boundary) + 1)
        return None

    def store(self, count: int, most: int) -> None:
        """Store the next ``count`` bytes apart if they are part of a large content.

        most  bytes that the whole content may have
        """
        if self._store is None:
            if count < LARGE_BYTES:
                return
            self._store = np.empty(max(most, OWN_BYTES), np.uint8)
        self._copy(self._store, count)
        self.searched = max(0, self.searched - count)

    def forget(self) -> None:
        """Drop what is stored."""
        self._store, self.stored = None, 0

    def take(self, count: int) -> NDArray[np.uint8]:
        """Return what is stored and the next ``count`` bytes, (N,) uint8: the caller's to keep."""
        self.searched = 0
        if self._store is not None:
            self._copy(self._store, count)
            content = self._store[: self.stored]
            self.forget()
            return content
        if self.at == 0 and 2 * count > len(self.held):
            whole = self.held  # only what follows is copied
            self.held = whole[count:]
        else:
            whole = self.held[self.at : self.at + count]
            self.at += count
        return np.frombuffer(whole, np.uint8, count)

    def _copy(self, store: NDArray[np.uint8], count: int) -> None:
        if count > 0:
            moved = np.frombuffer(self.held[self.at : self.at + count], np.uint8)
            store[self.stored : self.stored + count] = moved
            self.at += count
            self.stored += count
