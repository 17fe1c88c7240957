"""Splits the body of motion JPEG over HTTP into its parts, as they come.

Rule 1: pure; it reads no socket and no clock, and knows no JPEG.
Rule 2: it never raises, whatever the bytes are, and how they are cut into chunks changes nothing.
Rule 3: it never holds more than ``max_bytes`` of a part, ``HEAD_BYTES`` of its header and a chunk.

Cameras are not as RFC 2046 wants them: the boundary is the one that the body uses; CR and empty
lines may be missing; a part without a length, or with a wrong one, ends where the next begins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

HEAD_BYTES: Final = 16_384
"""Of the header of a part."""
PADDING_BYTES: Final = 64
"""Spaces that may follow a boundary."""
LONGEST_BOUNDARY: Final = 256
LF: Final = 0x0A
_HEADER: Final = re.compile(rb"([\w-]+)[ \t]*:[ \t]*([^\r\n]*)")
_REST: Final = re.compile(rb"(--)?[ \t]{0,%d}\r?\n" % PADDING_BYTES)
_PARTIAL_REST: Final = re.compile(rb"-{0,2}[ \t]{0,%d}\r?" % PADDING_BYTES)


@dataclass(frozen=True, slots=True)
class Part:
    """One part; ``content`` is the receiver's to keep.

    type  in small letters, without parameters; empty where it says none
    """

    type: str
    content: bytearray


@dataclass(frozen=True, slots=True)
class Skipped:
    """A part of which nothing was kept.

    what  it was, in a few words: subject of a sentence
    """

    what: str


class Multipart:
    """The body of one answer.

    boundary   as the Content-Type gives it, without quotes; empty where it gives none
    max_bytes  of a part
    """

    def __init__(self, boundary: str, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        named = boundary.encode("utf-8", "replace").strip()[:LONGEST_BOUNDARY]
        bare = named.lstrip(b"-")
        self._named = {named, b"--" + named, bare, b"--" + bare} - {b"", b"--"}
        self._boundary = b""  # as the body has it, dashes included; empty until it is seen
        self._certain = False  # it is the one that the Content-Type names, or a header followed it
        self._held = bytearray()
        self._at = 0  # of ``_held``: everything before it is done with
        self._searched = 0  # from ``_at``: no boundary begins there
        self._state = self._preamble
        self._type, self._length = "", -1
        self._header_bytes = 0
        self._trusts_lengths = True
        self._events: list[Part | Skipped] = []

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Part | Skipped]:
        """Return the parts that end in ``chunk``, in order."""
        self._held += chunk
        self._events = []
        while self._state():
            pass
        del self._held[: self._at]
        self._at = 0
        return self._events

    @property
    def held_bytes(self) -> int:
        """How much is kept for the next ``feed``."""
        return len(self._held)

    # Each state returns whether it got on; it is called again only then.

    def _preamble(self) -> bool:
        """Look for the first line that is a boundary."""
        begin = self._at
        line = self._line()
        if line is None:
            del self._held[begin + LONGEST_BOUNDARY + 1 :]  # no boundary, whatever follows
            self._searched = len(self._held) - begin
            return False
        self._certain = line in self._named
        short = self._at - begin <= LONGEST_BOUNDARY
        if short and (self._certain or (line.startswith(b"--") and len(line) > 2)):
            self._boundary = line
            self._begin()
        return True

    def _begin(self) -> None:
        """Expect a header, behind a boundary."""
        self._type, self._length, self._header_bytes = "", -1, 0
        self._state = self._header

    def _header(self) -> bool:
        """Take one line of a header."""
        first = self._held[self._at : self._at + 2]
        if first == b"\xff\xd8":  # the empty line is missing
            self._end_header()
            return True
        if first == b"\xff":
            return False
        begin = self._at
        line = self._line()
        so_far = self._header_bytes + (len(self._held) if line is None else self._at) - begin
        if so_far > HEAD_BYTES:
            self._at = begin
            self._skip(f"a part whose header has more than {HEAD_BYTES} bytes")
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
        elif not self._certain:  # it was no boundary
            self._state = self._preamble
        return True

    def _field(self, name: bytes, value: bytes) -> None:
        if name == b"content-type":
            self._type = value.partition(b";")[0].strip().lower().decode("latin-1")
        elif name == b"content-length":
            self._length = int(value) if value.isdigit() and len(value) < 20 else -1

    def _end_header(self) -> None:
        self._searched = 0
        if self._length > self._max_bytes:
            self._skip(f"a part of {self._length} bytes")
        elif self._length > 0 and self._trusts_lengths:
            self._state = self._counted
        else:
            self._state = self._uncounted

    def _counted(self) -> bool:
        """Wait for as many bytes as the header has named."""
        if len(self._held) - self._at < self._length:
            return False
        self._events.append(Part(self._type, self._take(self._length)))
        return True

    def _after(self) -> bool:
        """Expect a boundary, behind a part; else the part's length was wrong."""
        while self._at < len(self._held) and self._held[self._at] in b"\r\n":
            self._at += 1
        rest = self._find()
        if rest is not None and rest.start() == self._at + len(self._boundary):
            self._next(rest)
        elif rest is None and self._searched == 0:  # too little to say
            return False
        else:
            self._trusts_lengths, self._state = False, self._skipping
        return True

    def _uncounted(self) -> bool:
        """Wait for the boundary that ends a part without a length."""
        rest = self._find()
        if rest is None:
            if self._searched - 2 > self._max_bytes:
                self._skip(f"a part of more than {self._max_bytes} bytes")
                return True
            return False
        end = rest.start() - len(self._boundary)
        for mark in b"\n\r":
            if end > self._at and self._held[end - 1] == mark:
                end -= 1
        if end - self._at > self._max_bytes:
            self._events.append(Skipped(f"a part of more than {self._max_bytes} bytes"))
            self._next(rest)
        else:
            self._events.append(Part(self._type, self._take(end - self._at)))
        return True

    def _skip(self, what: str) -> None:
        """Give up a part; what was searched of it is not searched again."""
        self._events.append(Skipped(what))
        if self._certain:
            self._state = self._skipping
        else:
            self._searched, self._state = 0, self._preamble

    def _skipping(self) -> bool:
        """Throw everything away up to the next boundary."""
        rest = self._find()
        if rest is None:
            done = max(0, self._searched - 1)  # a line's end may have to precede the boundary
            self._at += done
            self._searched -= done
            return False
        self._next(rest)
        return True

    def _next(self, rest: re.Match[bytes]) -> None:
        """Go on behind a boundary; the one at the end of all parts may be followed by more."""
        self._at, self._searched, self._certain = rest.end(), 0, True
        if rest[1]:
            self._state = self._skipping
        else:
            self._begin()

    # What the states share.

    def _line(self) -> bytes | None:
        """Take a line, without its end; None where it has not come to an end yet."""
        end = self._held.find(b"\n", self._at + self._searched)
        if end < 0:
            self._searched = len(self._held) - self._at
            return None
        line = bytes(self._held[self._at : end])
        self._at, self._searched = end + 1, 0
        return line.rstrip()

    def _find(self) -> re.Match[bytes] | None:
        """Return what follows the next boundary; None where there is none yet."""
        held, boundary = self._held, self._boundary
        start = held.find(boundary, self._at + self._searched)
        while start >= 0:
            end = start + len(boundary)
            alone = boundary.startswith(b"--") or start == self._at or held[start - 1] == LF
            rest = _REST.match(held, end) if alone else None
            if rest is not None:
                return rest
            if alone and _PARTIAL_REST.fullmatch(held, end):
                self._searched = start - self._at
                return None
            start = held.find(boundary, start + 1)
        left = len(held) - self._at
        self._searched = max(self._searched, left - len(boundary) + 1)
        return None

    def _take(self, count: int) -> bytearray:
        """Return the content of a part; copied only where more than as much again is held."""
        self._searched, self._state = 0, self._after
        if self._at == 0 and 2 * count > len(self._held):
            content = self._held
            self._held = content[count:]
            del content[count:]
            return content
        self._at += count
        return self._held[self._at - count : self._at]
