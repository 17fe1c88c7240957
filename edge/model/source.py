"""The files of a model's folder, opened before root becomes the owner of the store; see owner.

Only regular files, no links; bounded in number and in bytes.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from edge import files
from edge.errors import ModelError
from edge.model import installed
from edge.model.card import MODEL_MAX_BYTES

FILES_MAX: Final = 100
"""Of one model."""
_SIGNED: Final = (installed.MANIFEST, installed.SIGNATURE)


def opened(folder: Path) -> dict[str, int]:
    """Open the files of a model's folder: name -> descriptor, for ``close``. Raises ModelError.

    The signature of a bundle is left out: here nobody has verified it.
    """
    names = [path.name for path in content(folder)]
    descriptors: dict[str, int] = {}
    try:
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in names:
                descriptors[name] = files.open_regular(name, place)
        finally:
            os.close(place)
    except OSError as exc:
        close(descriptors)
        raise ModelError(f"cannot be read: {exc.strerror}", where=str(folder)) from exc
    return descriptors


def copy(opened: dict[str, int], to: Path, where: str) -> None:
    """Write the files of ``opened`` into the folder ``to``. Raises ModelError, OSError.

    where  the folder that they are from
    """
    for name, file in opened.items():
        try:
            read = files.read_open(file, MODEL_MAX_BYTES)
        except OSError as exc:
            raise ModelError(f"cannot be read: {exc.strerror}", where=f"{where}/{name}") from exc
        with (to / name).open("xb") as out:
            out.write(read)
            out.flush()
            os.fsync(out.fileno())


def close(opened: dict[str, int]) -> None:
    """Close the files of ``opened``. Safe to call twice."""
    while opened:
        os.close(opened.popitem()[1])


def content(folder: Path) -> list[Path]:
    """Return the files that are copied. Raises ModelError as ``regular`` does."""
    return [path for path in regular(folder) if path.name not in _SIGNED]


def regular(folder: Path) -> list[Path]:
    """Return the files of a model's folder. Raises ModelError for anything else in it."""
    try:
        entries = sorted(folder.iterdir())
        for path in entries:
            if not stat.S_ISREG(path.lstat().st_mode):
                raise ModelError(
                    "not a regular file", where=str(path), hint="a model is a folder of plain files"
                )
    except OSError as exc:
        raise ModelError(f"cannot be read: {exc.strerror}", where=str(folder)) from exc
    if len(entries) > FILES_MAX:
        raise ModelError(
            "too many files for a model",
            where=str(folder),
            expected=f"at most {FILES_MAX}",
            got=str(len(entries)),
        )
    return entries
