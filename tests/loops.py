"""Loop devices: a file in the place of a card."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

needs_root: Final = pytest.mark.skipif(
    os.geteuid() != 0, reason="LEFT OUT: loop devices are root's: run the tests as root"
)


@contextlib.contextmanager
def attached(backing: Path, size: int, *options: str) -> Iterator[Path]:
    """Give a loop device on ``backing``, which gets ``size`` bytes."""
    with backing.open("ab") as stream:
        stream.truncate(size)
    command = ["losetup", "--find", "--show", *options, str(backing)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    try:
        yield Path(told.strip())
    finally:
        subprocess.run(["losetup", "--detach", told.strip()], check=True)
