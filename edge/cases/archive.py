"""Writes sorted cases into a tar file: a folder for each class, pictures and side-cars.

Written whole or not at all, readable by its owner alone: the owner of the folder that it is in.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge.cases.folder import PART
from edge.cases.names import PICTURE, SIDECAR
from edge.cases.store import Store, content_of

PICTURE_MAX_BYTES: Final = 8_000_000
"""Of a picture; one of ours has at most some hundred kilobytes."""


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


def _give(descriptor: int, folder: Path) -> None:
    """Give what root has made to the owner of its folder: with sudo, to who is at home there."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _write(store: Store, tar: tarfile.TarFile, label: str) -> int:
    """Write a class; return the number of its cases."""
    count = 0
    with store.folder(label) as folder:
        for name in store.names(label):
            try:
                picture = folder.read(name + PICTURE, PICTURE_MAX_BYTES)
            except FileNotFoundError:
                continue  # sorted elsewhere meanwhile
            sidecar = content_of(folder, name)
            _add(tar, f"{label}/{name}{PICTURE}", picture)
            if sidecar:
                _add(tar, f"{label}/{name}{SIDECAR}", sidecar)
            tar.members.clear()  # type: ignore[attr-defined]  # a record of every file
            count += 1
    return count


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o600
    tar.addfile(member, io.BytesIO(content))
