"""Another user of this machine, who owns a folder in which root is asked to work."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

USER = 65534
"""`nobody`: on every Linux."""
FOR_ROOT = pytest.mark.skipif(
    os.geteuid() != 0, reason="LEFT OUT: only root can become another user"
)


@contextmanager
def reachable() -> Iterator[Path]:
    """Yield a folder that every user may enter: pytest's own are root's alone."""
    with tempfile.TemporaryDirectory(prefix="edge-other-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        done = as_other("-c", "import edge.cli.models")
        if done.returncode:
            pytest.skip("LEFT OUT: other users cannot read this checkout or its environment")
        yield Path(folder)


def give(folder: Path, mode: int = 0o750, user: int = USER) -> Path:
    """Make a folder of the other user's."""
    folder.mkdir(exist_ok=True)
    folder.chmod(mode)
    os.chown(folder, user, user)
    return folder


def as_other(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python as the other user."""
    return subprocess.run(
        [sys.executable, *words],
        **{"cwd": ROOT, "capture_output": True, "text": True, "check": False, **options},
        user=USER,
        group=USER,
        extra_groups=[],
    )


def owners(folder: Path) -> set[tuple[int, int]]:
    """Return user and group of everything below a folder."""
    found = (path.lstat() for path in folder.rglob("*"))
    return {(status.st_uid, status.st_gid) for status in found}


def tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return user, mode and content of everything in a folder."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_uid,
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in (folder, *sorted(folder.rglob("*")))
    }
