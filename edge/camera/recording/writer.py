"""Writes a recording that is readable after a kill, a power cut or a full disk at any instant.

Rule 1: an existing file is never written to; only its owner may read the new one.
Rule 2: every record is appended whole; one that the disk does not take is cut off again.
Rule 3: it is on the disk a second later: a power cut costs a second.
Rule 4: neither the limit on bytes nor the space left free on the disk is exceeded.

Runs on the caller's thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path
from typing import Final, Literal

from edge.camera.recording import SUFFIX, records
from edge.camera.recording.archive import BLOCK, CLOSING, NUMBER_MAX, Kind, Member, encode
from edge.errors import CameraError

SYNC_S: Final = 1.0
FREE_BYTES: Final = 32_000_000
"""Left free on the disk, which is not the recording's alone."""
END_BYTES: Final = 2 * BLOCK + len(CLOSING)
"""What the last record and the end of the tar take."""

Refusal = Literal["bytes", "disk"]
_REFUSED: Final[dict[Refusal, str]] = {
    "bytes": "the limit on bytes is too low",
    "disk": "the disk is nearly full",
}


class Writer:
    """A new recording at ``path``; its first record is ``start``. Raises CameraError.

    max_bytes   of the file
    free_bytes  left free on its disk
    """

    def __init__(
        self, path: Path, start: records.Start, max_bytes: int, free_bytes: int = FREE_BYTES
    ) -> None:
        self.path, self._max_bytes, self._free_bytes = path, max_bytes, free_bytes
        self._begin_s = start.started - start.monotonic_ns / 1e9
        self.bytes = 0
        """Of the file so far."""
        self._number = 0
        self._synced_s = time.monotonic()
        self._file = self._create()
        try:
            refusal = self.add(start, start.monotonic_ns)
        except OSError as exc:
            self.discard()
            raise CameraError(f"cannot be written: {exc.strerror}", where=str(path)) from exc
        if refusal is not None:
            self.discard()
            free = f"more than {free_bytes} bytes free on the disk"
            expected = free if refusal == "disk" else "room for the first record"
            raise CameraError(_REFUSED[refusal], where=str(path), expected=expected)

    def add(
        self, record: records.Record, at_ns: int, picture: tuple[Kind, bytes] | None = None
    ) -> Refusal | None:
        """Append a record and its picture, or return why there is no room for them.

        at_ns  when it was, by ``time.monotonic_ns()``
        Raises OSError for a disk that fails; what it took of the record is cut off.
        """
        members: list[tuple[Kind, bytes]] = [("json", records.encode(record))]
        if picture is not None:
            members.append(picture)
        return self._append(members, at_ns, END_BYTES)

    def close(self, end: records.End, at_ns: int) -> None:
        """Append the last record and close the file, on the disk. Raises OSError."""
        try:
            if self._append([("json", records.encode(end))], at_ns, len(CLOSING)) is None:
                self._write(CLOSING)
            os.fsync(self._file)
        finally:
            os.close(self._file)

    def discard(self) -> None:
        """Close and remove the file, which holds no frame."""
        os.close(self._file)
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _append(
        self, members: list[tuple[Kind, bytes]], at_ns: int, reserve_bytes: int
    ) -> Refusal | None:
        if self._number + len(members) > NUMBER_MAX:
            return "bytes"
        ts = self._begin_s + at_ns / 1e9
        content = b"".join(
            encode(Member(number, *member), ts)
            for number, member in enumerate(members, self._number)
        )
        if self.bytes + len(content) + reserve_bytes > self._max_bytes:
            return "bytes"
        if reserve_bytes == END_BYTES and self._left() < self._free_bytes + len(content):
            return "disk"
        try:
            self._write(content)
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                return "disk"
            raise
        self._number += len(members)
        self._sync()
        return None

    def _write(self, content: bytes) -> None:
        """Append all of ``content``, or nothing of it."""
        view = memoryview(content)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self.bytes)
                os.lseek(self._file, self.bytes, os.SEEK_SET)
            raise
        self.bytes += len(content)

    def _sync(self) -> None:
        now_s = time.monotonic()
        if now_s - self._synced_s >= SYNC_S:
            self._synced_s = now_s
            os.fdatasync(self._file)

    def _left(self) -> int:
        disk = os.fstatvfs(self._file)
        return disk.f_bavail * disk.f_frsize

    def _create(self) -> int:
        if self.path.suffix != SUFFIX:
            raise CameraError("not a recording's name", where=str(self.path), expected=SUFFIX)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(self.path, flags, 0o600)
        except FileExistsError as exc:
            hint = "recordings are never overwritten: choose another name, or remove it"
            raise CameraError("exists already", where=str(self.path), hint=hint) from exc
        except (OSError, ValueError) as exc:  # a NUL in the name
            what = f"cannot be written: {getattr(exc, 'strerror', None) or exc}"
            raise CameraError(what, where=str(self.path)) from exc
