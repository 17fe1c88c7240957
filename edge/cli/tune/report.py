"""The file of an answer: written whole or not at all, over nothing but a file of its own kind."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Final

from edge import files
from edge.cli.tune.answer import MARK
from edge.errors import EdgeError

MAX_BYTES: Final = 1_000_000
MODE: Final = 0o644


def check(path: Path) -> None:
    """Raise EdgeError where ``path`` could not be written, or is another's file."""
    folder = path.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise EdgeError("is not a folder that can be written to", where=str(folder))
    if not os.path.lexists(path):
        return
    try:
        content = b"" if path.is_symlink() else files.read(path, MAX_BYTES)
    except OSError:
        content = b""
    if not content.startswith(MARK.encode()):
        raise EdgeError(
            "is there, and was not written by edge tune",
            where=str(path),
            hint="give another place with --out",
        )


def write(path: Path, text: str) -> None:
    """Write ``text``, and replace a file of our own. Raises EdgeError."""
    check(path)
    made = ""
    try:
        file, made = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(file, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), MODE)
            os.fsync(stream.fileno())
        os.replace(made, path)
    except OSError as exc:
        raise EdgeError(f"cannot be written: {exc.strerror}", where=str(path)) from exc
    finally:
        with contextlib.suppress(OSError):
            os.unlink(made)
