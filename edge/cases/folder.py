"""An open folder, whose files others may write, remove and replace at any time.

Rule 1: every name is resolved in the folder that was opened, and no symbolic link is followed.
Rule 2: a file is written whole or not at all, readable by its owner alone. That is the folder's
        owner: a command of root's has become that user, see owner.
Rule 3: one process changes a folder of cases at a time: it holds the lock on the folder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edge import files

PART: Final = ".part"
_POLL_S: Final = 0.01
_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """Holds one descriptor, until ``close``. Every method raises OSError."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def open(cls, path: Path) -> Folder:
        """Return the folder ``path``, whose last part is no symbolic link."""
        try:
            return cls(os.open(path, _FLAGS))
        except ValueError as exc:  # a NUL, or a lone surrogate
            raise OSError(errno.EINVAL, "is not a folder's name") from exc

    def sub(self, name: str, create: bool = False) -> Folder:
        """Return the folder ``name`` in this one."""
        if create:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=self.descriptor)
                self.sync()
        return Folder(os.open(name, _FLAGS, dir_fd=self.descriptor))

    def entries(self) -> Iterator[os.DirEntry[str]]:
        """Yield what is in it, in no order."""
        with os.scandir(self.descriptor) as entries:
            yield from entries

    def size(self, name: str) -> int | None:
        """Return the bytes of the regular file ``name``; None where there is none."""
        try:
            status = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return the content of the regular file ``name``."""
        return files.read(name, max_bytes, self.descriptor)

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all; it outlives a loss of power once ``sync`` is done."""
        part = f".{name}{PART}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self.remove(part)
        file = os.open(part, flags, 0o600, dir_fd=self.descriptor)
        try:
            try:
                left = memoryview(content)
                while left:
                    left = left[os.write(file, left) :]
                os.fsync(file)
            finally:
                os.close(file)
            self.move(part, self, name)
        except BaseException:
            with contextlib.suppress(OSError):
                self.remove(part)
            raise

    def move(self, name: str, to: Folder, new: str) -> None:
        """Move a file, at once."""
        os.rename(name, new, src_dir_fd=self.descriptor, dst_dir_fd=to.descriptor)

    def link(self, name: str, to: Folder, content: bytes) -> None:
        """Give a file, whose ``content`` is known, a name in another folder as well."""
        folders = {"src_dir_fd": self.descriptor, "dst_dir_fd": to.descriptor}
        try:
            os.link(name, name, **folders, follow_symlinks=False)
        except OSError as exc:
            if exc.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
            to.write(name, content)  # a file system without links, as on a USB stick

    def remove(self, name: str) -> bool:
        """Remove a file; return whether there was one."""
        try:
            os.unlink(name, dir_fd=self.descriptor)
        except FileNotFoundError:
            return False
        return True

    def remove_sub(self, name: str) -> bool:
        """Remove the folder ``name`` if it is empty; return whether it was."""
        try:
            os.rmdir(name, dir_fd=self.descriptor)
        except OSError as exc:
            if exc.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                return False
            raise
        return True

    def sync(self) -> None:
        """Make names in it outlive a loss of power."""
        os.fsync(self.descriptor)

    def lock(self, longest_s: float) -> None:
        """Keep other processes from changing it until ``close``. Raises TimeoutError."""
        end_s = time.monotonic() + longest_s
        while True:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= end_s:
                    text = "another process is changing it: try again"
                    raise TimeoutError(errno.ETIMEDOUT, text) from None
            time.sleep(_POLL_S)

    def status(self) -> os.stat_result:
        """Return its own status."""
        return os.fstat(self.descriptor)

    def free_bytes(self) -> int:
        """Return how much a process without privileges may still write."""
        stats = os.fstatvfs(self.descriptor)
        return stats.f_bavail * stats.f_frsize

    def close(self) -> None:
        """Release it, and its lock."""
        os.close(self.descriptor)
