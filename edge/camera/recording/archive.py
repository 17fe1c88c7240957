"""Members of a recording: a strict subset of tar, so that ``tar xf`` unpacks it.

A member is a regular file of the ustar format, named NUMBER-CRC32.KIND: its place from 0, the
checksum of its content, and json, jpg or png. Whatever else a tar may hold is refused: no link, no
folder, no extended header is ever followed. Nothing is read that is longer than its kind may be.
Pure but for reading the open file; runs on the caller's thread.
Source: POSIX.1-2017, pax, ustar Interchange Format; Python's tarfile encodes and checks headers.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final, Literal, NamedTuple, cast

from edge.errors import CameraError

Kind = Literal["json", "jpg", "png"]
BLOCK: Final = 512
MOST_BYTES: Final[dict[str, int]] = {"json": 4_000_000, "jpg": 32_000_000, "png": 64_000_000}
"""Of a member's content: scores of 100,000 labels, pictures of 16 million pixels."""
NUMBER_MAX: Final = 99_999_999
CLOSING: Final = bytes(2 * BLOCK)
"""Ends a tar."""
TAIL_BYTES: Final = 1 << 20
"""After the last whole member: a power cut may leave zeros where the data should be."""
_NAME: Final = re.compile(r"(\d{8})-([0-9a-f]{8})\.(json|jpg|png)", re.ASCII)


class Member(NamedTuple):
    """One member."""

    number: int
    kind: Kind
    content: bytes


def encode(member: Member, ts: float) -> bytes:
    """Return the member as it lies in the file. ts: wall clock, for ``tar tv``.

    Raises ValueError where it is longer than its kind may be.
    """
    number, kind, content = member
    if len(content) > MOST_BYTES[kind]:
        raise ValueError(f"{len(content)} bytes of {kind}: at most {MOST_BYTES[kind]} fit")
    info = tarfile.TarInfo(f"{number:08}-{zlib.crc32(content):08x}.{kind}")
    info.size, info.mtime, info.mode = len(content), max(0, int(ts)), 0o600
    header = info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
    return b"".join((header, content, bytes(-len(content) % BLOCK)))


class Members:
    """The members of a file, in order.

    file   open, at its beginning
    where  its name, for messages

    Raises CameraError for a member that is not one of ours, or is damaged and not the last.
    """

    def __init__(self, file: BinaryIO, where: str) -> None:
        self._file, self._where = file, where
        self._size = os.fstat(file.fileno()).st_size
        self._at = 0
        self.number = 0

    def __iter__(self) -> Iterator[Member]:
        """Yield each member up to the end, or up to where the file was cut."""
        while (member := self._next()) is not None:
            yield member
            self.number += 1

    def fault(self, what: str) -> CameraError:
        """Return the error of the member that was yielded last, or could not be."""
        where = f"{self._where}: record {self.number} at byte {self._at}"
        return CameraError(what, reason="corrupt", where=where)

    def _next(self) -> Member | None:
        self._at = self._file.tell()
        block = self._read(BLOCK)
        if len(block) < BLOCK or not any(block):
            return None
        try:
            info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
            name = _NAME.fullmatch(info.name)
        except (tarfile.HeaderError, ValueError) as exc:  # UnicodeDecodeError is one
            if self._rest_is_lost():
                return None
            raise self.fault("not a record: expected a header of the ustar format") from exc
        if name is None or info.type != tarfile.REGTYPE or info.linkname:
            raise self.fault("not a record of a recording")
        if int(name[1]) != self.number:
            raise self.fault(f"record {int(name[1])}: expected {self.number}: records are missing")
        most = MOST_BYTES[name[3]]
        if not 0 < info.size <= most:
            raise self.fault(f"{info.size} bytes: expected 1 to {most}")
        if self._file.tell() + info.size > self._size:
            return None
        content = self._read(info.size)
        self._file.seek(-info.size % BLOCK, io.SEEK_CUR)
        if len(content) < info.size:
            return None
        if zlib.crc32(content) != int(name[2], 16):
            if self._rest_is_lost():
                return None
            raise self.fault("damaged: the checksum does not match")
        return Member(self.number, cast("Kind", name[3]), content)

    def _rest_is_lost(self) -> bool:
        """Return whether nothing but zeros comes after a damaged member: a power cut, no damage."""
        return not any(self._read(TAIL_BYTES))

    def _read(self, count: int) -> bytes:
        try:
            return self._file.read(count)
        except OSError as exc:
            raise self.fault(f"cannot be read: {exc.strerror}") from exc
