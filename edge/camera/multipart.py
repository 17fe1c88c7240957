"""Splits the body of motion JPEG over HTTP into its parts, as they come.

Rule 1: pure; it reads no socket and no clock, and knows no JPEG.
Rule 2: it never raises, whatever the bytes are, and the division into chunks changes nothing.
Rule 3: it never holds more than ``max_bytes`` of a part, ``HEAD_BYTES`` of its header and a chunk.

Cameras deviate from RFC 2046: the boundary is the one in the body; CR and empty lines may be
missing; a part without a length, or with a wrong one, ends where the next begins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.camera.partbuffer import PartBuffer

HEAD_BYTES: Final = 16_384
"""Of the header of a part."""
LONGEST_BOUNDARY: Final = 256
_HEADER: Final = re.compile(rb"([\w-]+)[ \t]*:[ \t]*([^\r\n]*)")


@dataclass(frozen=True, slots=True)
class Part:
    """One part.

    type     in small letters, without parameters; empty if absent
    content  (N,), the receiver's to keep
    """

    type: str
    content: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A part that was dropped.

    what       what it was, as the subject of a sentence
    too_large  its content was too large; else its header
    """

    what: str
    too_large: bool = True


class Multipart:
    """The body of one answer.

    boundary   as in the Content-Type, without quotes; empty if absent
    max_bytes  of a part
    """

    def __init__(self, boundary: str, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        named = boundary.encode("utf-8", "replace").strip()[:LONGEST_BOUNDARY]
        bare = named.lstrip(b"-")
        self._named = {named, b"--" + named, bare, b"--" + bare} - {b"", b"--"}
        self._boundary = b""  # as in the body, with dashes; empty until it was found
        self._certain = False  # the Content-Type names it, or a header followed it
        self._buffer = PartBuffer()
        self._state = self._preamble
        self._type, self._length = "", -1
        self._header_bytes = 0
        self._trusts_lengths = True
        self._events: list[Part | Skipped] = []

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Part | Skipped]:
        """Return the parts that end in ``chunk``, in order."""
        self._buffer.held += chunk
        self._events = []
        while self._state():
            pass
        self._buffer.compact()
        return self._events

    @property
    def held_bytes(self) -> int:
        """How much is kept for the next ``feed``."""
        return self._buffer.total_bytes

    # Each state returns whether it made progress; `feed` goes on until one did not.

    def _preamble(self) -> bool:
        """Look for the first line that is a boundary."""
        buffer, begin = self._buffer, self._buffer.at
        line = buffer.line()
        if line is None:
            del buffer.held[begin + LONGEST_BOUNDARY + 1 :]  # no boundary, whatever follows
            buffer.searched = buffer.left
            return False
        self._certain = line in self._named
        short = buffer.at - begin <= LONGEST_BOUNDARY
        if short and (self._certain or (line.startswith(b"--") and len(line) > 2)):
            self._boundary = line
            self._begin()
        return True

    def _begin(self) -> None:
        """Expect a header after a boundary."""
        self._type, self._length, self._header_bytes = "", -1, 0
        self._state = self._header

    def _header(self) -> bool:
        """Take one line of a header."""
        buffer, begin = self._buffer, self._buffer.at
        first = buffer.held[begin : begin + 2]
        if first == b"\xff\xd8":  # the empty line is missing
            self._end_header()
            return True
        if first == b"\xff":
            return False
        line = buffer.line()
        so_far = self._header_bytes + (buffer.left if line is None else buffer.at - begin)
        if so_far > HEAD_BYTES:
            buffer.at = begin
            self._skip(f"a part whose header has more than {HEAD_BYTES} bytes", too_large=False)
            return True
        if line is None:
            return False
        self._header_bytes = so_far
        if not line:
            self._end_header()
        elif line == self._boundary:
            self._begin()
        elif (header := _HEADER.match(line)) is not None:
            self._certain = True
            self._field(header[1].lower(), header[2].strip())
        elif not self._certain:  # it was not a boundary
            self._state = self._preamble
        return True

    def _field(self, name: bytes, value: bytes) -> None:
        if name == b"content-type":
            self._type = value.partition(b";")[0].strip().lower().decode("latin-1")
        elif name == b"content-length":
            self._length = int(value) if value.isdigit() and len(value) < 20 else -1

    def _end_header(self) -> None:
        self._buffer.searched = 0
        if self._length > self._max_bytes:
            self._skip(f"a part of {self._length} bytes")
        elif self._length > 0 and self._trusts_lengths:
            self._state = self._counted
        else:
            self._state = self._uncounted

    def _counted(self) -> bool:
        """Wait for as many bytes as the header announced."""
        buffer = self._buffer
        missing = self._length - buffer.stored
        if buffer.left < missing:
            buffer.store(buffer.left, self._length)
            return False
        self._part(missing)
        return True

    def _part(self, count: int) -> None:
        self._events.append(Part(self._type, self._buffer.take(count)))
        self._state = self._after

    def _after(self) -> bool:
        """Expect a boundary after a part; else the part's length was wrong."""
        buffer = self._buffer
        while buffer.left and buffer.held[buffer.at] in b"\r\n":
            buffer.at += 1
        rest = buffer.find(self._boundary)
        if rest is not None and rest.start() == buffer.at + len(self._boundary):
            self._next(rest)
        elif rest is None and buffer.searched == 0:  # too little to decide
            return False
        else:
            self._trusts_lengths, self._state = False, self._skipping
        return True

    def _uncounted(self) -> bool:
        """Wait for the boundary that ends a part without a length."""
        buffer, most = self._buffer, self._max_bytes
        rest = buffer.find(self._boundary)
        if rest is None:
            # The last two bytes may be a line's end, which belongs to the boundary.
            certain = max(0, buffer.searched - 2)
            if buffer.stored + certain > most:
                self._skip(f"a part of more than {most} bytes")
                return True
            buffer.store(certain, most)
            return False
        end = rest.start() - len(self._boundary)
        for mark in b"\n\r":
            if end > buffer.at and buffer.held[end - 1] == mark:
                end -= 1
        if buffer.stored + end - buffer.at > most:
            self._skip(f"a part of more than {most} bytes")
        else:
            self._part(end - buffer.at)
        return True

    def _skip(self, what: str, too_large: bool = True) -> None:
        """Drop a part; what was searched of it is not searched again."""
        self._events.append(Skipped(what, too_large))
        self._buffer.forget()
        if self._certain:
            self._state = self._skipping
        else:
            self._buffer.searched, self._state = 0, self._preamble

    def _skipping(self) -> bool:
        """Drop everything up to the next boundary."""
        buffer = self._buffer
        rest = buffer.find(self._boundary)
        if rest is None:
            done = max(0, buffer.searched - 1)  # a line's end may have to precede the boundary
            buffer.at += done
            buffer.searched -= done
            return False
        self._next(rest)
        return True

    def _next(self, rest: re.Match[bytes]) -> None:
        """Continue after a boundary; more may follow even the one that ends all parts."""
        self._buffer.at, self._buffer.searched, self._certain = rest.end(), 0, True
        if rest[1]:
            self._state = self._skipping
        else:
            self._begin()
