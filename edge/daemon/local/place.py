"""The socket's file: made, guarded against another daemon's, removed.

Rule: only a socket that nobody listens on is replaced; anything else at the path stays as it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.errors import LocalError

MODE: Final = 0o660
"""The group may connect: docs/local.md."""
BACKLOG: Final = 16


@dataclass(frozen=True, slots=True)
class Place:
    """A listening socket and its file. listener: not blocking."""

    path: Path
    listener: socket.socket
    inode: tuple[int, int]

    def is_there(self) -> bool:
        """Return whether the path still leads to this socket."""
        try:
            return _inode(os.lstat(self.path)) == self.inode
        except OSError:
            return False

    def close(self) -> None:
        """Remove the file, and stop listening; in this order, so that no other's is removed."""
        if self.is_there():
            with contextlib.suppress(OSError):
                self.path.unlink()
        self.listener.close()


def listen(path: Path) -> Place:
    """Return a socket that listens at ``path``. Raises LocalError, in one line.

    The folder is locked meanwhile: of two daemons that start at once, one finds the other's socket.
    """
    listener = None
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _clear(path)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            listener.bind(os.fspath(path))
            inode = _open_to_group(path)
            listener.listen(BACKLOG)
        finally:
            os.close(folder)
    except (OSError, ValueError) as exc:
        if listener is not None:
            listener.close()
        if isinstance(exc, LocalError):
            raise
        reason = (exc.strerror if isinstance(exc, OSError) else "") or str(exc)
        raise LocalError(
            f"cannot listen: {reason}", where=str(path), hint="see local.path in the config"
        ) from exc
    return Place(path, listener, inode)


def _clear(path: Path) -> None:
    """Remove a socket that a killed daemon has left. Raises LocalError for anything else."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise LocalError(
            "something else is there", where=str(path), expected="nothing, or a socket"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:  # it listens, and its backlog is full
            pass
    raise LocalError(
        "another daemon listens there",
        where=str(path),
        hint="end it, or give this one a local.path of its own",
    )


def _open_to_group(path: Path) -> tuple[int, int]:
    """Set the mode of the socket, through no link; return its inode. Nobody can connect before."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISSOCK(status.st_mode):
            raise LocalError("was replaced meanwhile", where=str(path))
        os.chmod(f"/proc/self/fd/{fd}", MODE)
        return _inode(status)
    finally:
        os.close(fd)


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
