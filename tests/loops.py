"""Disks for tests: loop devices in the place of an SD card, small file systems that fill up."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

needs_root: Final = pytest.mark.skipif(
    os.geteuid() != 0, reason="LEFT OUT: loop devices need root: run the tests as root"
)


@contextlib.contextmanager
def attached(backing: Path, size: int, *options: str) -> Iterator[Path]:
    """Yield a loop device on ``backing``, which becomes ``size`` bytes long."""
    with backing.open("ab") as stream:
        stream.truncate(size)
    command = ["losetup", "--find", "--show", *options, str(backing)]
    device = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    try:
        yield Path(device.strip())
    finally:
        subprocess.run(["losetup", "--detach", device.strip()], check=True)


@contextlib.contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system of ``size`` on ``folder``; skip where only root may."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("LEFT OUT: a disk that is full or read-only: only root may mount one")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    """Change what ``tmpfs`` has mounted: ``size=8m``, ``ro``."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Fill a file system; return the file that fills it."""
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as out:
        while True:
            out.write(bytes(4096))
    return filler
