"""Writes sorted cases into a tar file: a folder for each class, pictures and side-cars.

A file is written whole or not at all, readable by its owner alone: the owner of the folder that it
is in. A stream is truncated where it fails, without the zeros that end an archive.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from edge.cases.folder import PART
from edge.cases.names import PICTURE, SIDECAR
from edge.cases.store import Store, content_of

PICTURE_MAX_BYTES: Final = 8_000_000
"""Of a picture; one of ours has at most some hundred kilobytes."""

PART_BYTES: Final = 262_144


def export(store: Store, file: Path, labels: Sequence[str]) -> dict[str, int]:
    """Write the cases of ``labels`` into ``file``; return class -> cases. Raises OSError."""
    part = file.with_name(f"{file.name}{PART}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    part.unlink(missing_ok=True)
    descriptor = os.open(part, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            _give(descriptor, file.parent)
            with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
                counts = {label: _write(store, tar, label) for label in labels}
            out.flush()
            os.fsync(descriptor)
        part.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    return counts


def stream(store: Store, labels: Sequence[str]) -> Iterator[bytes]:
    """Yield the same archive in parts of about ``PART_BYTES``. Raises OSError."""
    for label in labels:
        try:
            found = store.names(label)
        except FileNotFoundError:
            continue  # renamed meanwhile
        for name in found:
            for file, content in _files(store, label, name):
                header = _member(file, len(content)).tobuf(tarfile.PAX_FORMAT)
                yield header + content[:PART_BYTES]
                for begin in range(PART_BYTES, len(content), PART_BYTES):
                    yield content[begin : begin + PART_BYTES]
                if rest := _fill(content):
                    yield rest
    yield bytes(2 * tarfile.BLOCKSIZE)


def _give(descriptor: int, folder: Path) -> None:
    """Give what root has made to the owner of its folder: with sudo, to who is at home there."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _write(store: Store, tar: tarfile.TarFile, label: str) -> int:
    """Write a class; return the number of its cases."""
    count = 0
    for name in store.names(label):
        for file, content in _files(store, label, name):
            tar.addfile(_member(file, len(content)), io.BytesIO(content))
            tar.members.clear()  # type: ignore[attr-defined]  # a record of every file
            count += file.endswith(PICTURE)
    return count


def _files(store: Store, label: str, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the files of a case; none where it has gone meanwhile."""
    try:
        with store.folder(label) as folder:
            picture = folder.read(name + PICTURE, PICTURE_MAX_BYTES)
            sidecar = content_of(folder, name)
    except FileNotFoundError:
        return
    yield f"{label}/{name}{PICTURE}", picture
    if sidecar:
        yield f"{label}/{name}{SIDECAR}", sidecar


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member


def _fill(content: bytes) -> bytes:
    """Return the zeros up to the next block."""
    return bytes(-len(content) % tarfile.BLOCKSIZE)
