"""Folders in which a model is made before it has its name, and the lock of the store.

Rule 1: one process at a time changes the store, for milliseconds.
Rule 2: what another process is still making is locked too: ``tidy`` leaves it alone.

Runs as the user to whom the state directory belongs: root has become that user, see owner.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edge import owner
from edge.errors import ConfigError, EdgeError
from edge.model import installed

LOCK_S: Final = 5.0
"""Longest wait for another process that changes the store."""
ROOT: Final = "as root, or as the service's user"


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """Yield an empty folder on the store's disk, removed at the end; others leave it alone."""
    place = installed.added()
    with contextlib.ExitStack() as stack:
        with writing(place):
            if not place.is_dir():
                place.mkdir(parents=True, exist_ok=True)
                readable(place)
            with locked():
                folder = Path(tempfile.mkdtemp(prefix=".add-", dir=place))
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, handle)
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield folder


@contextlib.contextmanager
def locked(wait_s: float = LOCK_S) -> Iterator[None]:
    """Keep other processes from changing the store. Raises ConfigError where another one does."""
    place = installed.added()
    end_s = time.monotonic() + wait_s
    with writing(place):
        handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while not _lock(handle):
            if time.monotonic() >= end_s:
                raise ConfigError(
                    "another process changes the models", where=str(place), hint="try again"
                )
            time.sleep(0.02)
        yield
    finally:
        os.close(handle)


def tidy() -> None:
    """Remove what an interrupted ``add`` or ``remove`` has left."""
    with contextlib.suppress(OSError, ConfigError), locked(0.0):
        for pattern in (".add-*", ".gone-*"):
            for path in installed.added().glob(pattern):
                _remove_unlocked(path)


def readable(path: Path) -> None:
    """Let everyone read ``path``, whatever the umask."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fchmod(handle, 0o755 if stat.S_ISDIR(os.fstat(handle).st_mode) else 0o644)
    finally:
        os.close(handle)


def sync(folder: Path) -> None:
    """Write a folder's entries to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_unlocked(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if _lock(handle):
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(handle)


@contextlib.contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn what the file system refuses into one line."""
    try:
        yield
    except EdgeError:  # some are an OSError too
        raise
    except OSError as exc:
        hint = "give it to the owner of the folder above" if owner.became() else ROOT
        raise ConfigError(
            f"the models cannot be changed: {exc.strerror}",
            where=str(place),
            hint=hint if isinstance(exc, PermissionError) else "",
        ) from exc
