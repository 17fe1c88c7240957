"""Puts a folder in the place of another, whole and in one step."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path
from typing import Final

AT_FDCWD: Final = -100
RENAME_EXCHANGE: Final = 2
"""Source: renameat2(2)."""


def replace(new: Path, old: Path) -> None:
    """Move ``new`` to ``old``; what stood there is removed. Raises OSError.

    At no instant is there half a folder, or none where there was one. Both must be on one file
    system.
    """
    if not old.is_dir():
        new.rename(old)
        return
    exchange(new, old)
    shutil.rmtree(new)


def exchange(one: Path, other: Path) -> None:
    """Exchange two paths; at no instant is either missing. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, bytes(one), AT_FDCWD, bytes(other), RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), "cannot exchange", str(one), None, str(other))
