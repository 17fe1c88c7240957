"""Puts a folder in the place of another, whole and in one step."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from pathlib import Path
from typing import Final

AT_FDCWD: Final = -100
RENAME_EXCHANGE: Final = 2
"""Source: renameat2(2)."""


def replace(new: Path, old: Path) -> None:
    """Move ``new`` to ``old``; what stood there is removed. Raises OSError.

    At no instant is there half a folder, or none where there was one; nor after a loss of power.
    Both must be on one file system.
    """
    sync(new)
    try:
        new.rename(old)
        return
    except OSError as exc:  # not looked up before: another one may put it there meanwhile
        if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    exchange(new, old)
    shutil.rmtree(new)


def sync(folder: Path) -> None:
    """Have the files of a folder, and their names, on the disk. Raises OSError."""
    for path in (*(path for path in folder.iterdir() if path.is_file()), folder):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def exchange(one: Path, other: Path) -> None:
    """Exchange two paths; at no instant is either missing. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, bytes(one), AT_FDCWD, bytes(other), RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), "cannot exchange", str(one), None, str(other))
