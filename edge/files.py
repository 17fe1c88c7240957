"""Reads files from outside: regular ones only, never more than a limit. Writes files whole.

A pipe, a device or a socket in the place of a file would block the reader, or never end; a sparse
file of gigabytes costs its author nothing. Every picture, model, label, card, config, password and
setting is read here. Knows none of them.
"""

from __future__ import annotations

import codecs
import errno
import os
import stat
from pathlib import Path
from typing import Final

TEXT_MAX_BYTES: Final = 1_048_576
"""Of a config, a card or a list of labels; the largest known list of labels has 300 kB."""

_KINDS: Final = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
_FOREIGN: Final = (
    *(codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    *(codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
)


def read(path: Path | str, max_bytes: int, folder: int | None = None) -> bytes:
    """Return the content of the regular file ``path``; never waits for another process.

    folder  as of ``open_regular``
    Raises OSError with a ``strerror`` that can be printed: also for anything but a regular file
    (EINVAL), for more than ``max_bytes`` (EFBIG) and for an impossible file name (EINVAL).
    """
    file = open_regular(path, folder)
    try:
        size = os.fstat(file).st_size
        content = b""
        if size <= max_bytes:  # /proc and /sys may report a smaller size
            content = _read_all(file, max_bytes + 1)
    finally:
        os.close(file)
    if size > max_bytes or len(content) > max_bytes:
        size = max(size, len(content))
        raise OSError(errno.EFBIG, f"is too large: expected at most {max_bytes} bytes, got {size}")
    return content


def read_text(path: Path, max_bytes: int = TEXT_MAX_BYTES) -> str:
    """Return the text in ``path``, UTF-8 with or without a byte order mark.

    Raises OSError as ``read`` does, also for text in another encoding (EILSEQ).
    """
    return decoded(read(path, max_bytes))


def decoded(content: bytes) -> str:
    """Return ``content`` as text, UTF-8 with or without a byte order mark. Raises OSError."""
    if content.startswith(_FOREIGN):
        raise OSError(errno.EILSEQ, "is UTF-16 or UTF-32 text: save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise OSError(errno.EILSEQ, f"is not UTF-8: {exc.reason} at byte {exc.start}") from exc


def open_regular(path: Path | str, folder: int | None = None) -> int:
    """Return a descriptor of the regular file ``path``, opened to read. Raises OSError.

    folder  descriptor of an open folder: then ``path`` is a name in it, and no symbolic link
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    if folder is not None:
        flags |= os.O_NOFOLLOW
    try:  # without O_NONBLOCK, opening a pipe waits for a writer
        file = os.open(path, flags, dir_fd=folder)
    except ValueError as exc:  # a NUL, or a lone surrogate
        raise OSError(errno.EINVAL, "is not a file's name") from exc
    mode = os.fstat(file).st_mode
    if not stat.S_ISREG(mode):
        os.close(file)
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"is {kind}: expected a regular file")
    return file


def replace(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write the file ``path`` whole or not at all, on the disk before it has its name.

    It is written as `.NAME.part` beside itself, never through a link in that place.

    mode  of the file, less the process's umask

    Raises OSError.
    """
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(part, flags, mode), "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    part.replace(path)


def _read_all(file: int, max_bytes: int) -> bytes:
    parts, left, chunk = [], max_bytes, os.fstat(file).st_size + 1
    while left and (part := os.read(file, min(left, chunk))):
        parts.append(part)
        left, chunk = left - len(part), 1 << 20
    return parts[0] if len(parts) == 1 else b"".join(parts)  # a large file is not held twice
