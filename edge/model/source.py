"""The files of a model's folder, opened before root becomes the owner of the store; see owner.

Only regular files, no links; bounded in number and in bytes. A folder without a card is none: what
only root can read must not become another user's by a wrong path.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edge import files
from edge.errors import ModelError
from edge.model import cardfile, installed
from edge.model.card import MODEL_MAX_BYTES, ModelCard
from edge.model.modelfile import LABELS

FILES_MAX: Final = 100
"""Of one model."""
_SIGNED: Final = (installed.MANIFEST, installed.SIGNATURE)


def opened(folder: Path, *, for_other: bool = False) -> dict[str, int]:
    """Open the files of a model's folder: name -> descriptor, for ``close``. Raises ModelError.

    The signature of a bundle is left out: here nobody has verified it.

    for_other  another user will have the copy: a file that others cannot read must be named by the
               card and belong to the card's owner
    """
    descriptors: dict[str, int] = {}
    try:
        with _place(folder) as place:
            names = [name for name in _regular(place, folder) if name not in _SIGNED]
            if installed.CARD not in names:
                hint = f"give a folder with a {installed.CARD} in it"
                raise ModelError("model not found", where=str(folder), hint=hint)
            file = descriptors[installed.CARD] = files.open_regular(installed.CARD, place)
            named = _named(cardfile.read(folder / installed.CARD, file))
            os.lseek(file, 0, os.SEEK_SET)
            owner = os.fstat(file).st_uid
            for name in names:
                if name in descriptors:
                    continue
                file = descriptors[name] = files.open_regular(name, place)
                status = os.fstat(file)
                mine = name in named and status.st_uid == owner
                if for_other and not (mine or status.st_mode & stat.S_IROTH):
                    raise ModelError(
                        "is private, and the card does not name it",
                        where=str(folder / name),
                        expected="a model's files alone: the user of the service gets a copy",
                        hint="take it out of the folder, or `chmod o+r` it",
                    )
    except OSError as exc:
        close(descriptors)
        raise ModelError(f"cannot be read: {exc.strerror}", where=str(folder)) from exc
    except ModelError:
        close(descriptors)
        raise
    return descriptors


def _named(card: ModelCard) -> set[str]:
    """Return the files beside a card that are the model's: names, and what can be no name."""
    parts = (card.head, card.baseline)
    return {
        card.file,
        card.backbone,
        card.golden.picture if card.golden else "",
        *(part.file for part in parts if part),
        *(() if card.labels else (LABELS,)),
    }


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
        with _place(folder) as place:
            return [folder / name for name in _regular(place, folder)]
    except OSError as exc:
        raise ModelError(f"cannot be read: {exc.strerror}", where=str(folder)) from exc


@contextlib.contextmanager
def _place(folder: Path) -> Iterator[int]:
    """Yield a folder's descriptor: what happens to its path meanwhile changes nothing."""
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield place
    finally:
        os.close(place)


def _regular(place: int, folder: Path) -> list[str]:
    names = sorted(os.listdir(place))
    for name in names:
        if not stat.S_ISREG(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode):
            raise ModelError(
                "not a regular file",
                where=str(folder / name),
                hint="a model is a folder of plain files",
            )
    if len(names) > FILES_MAX:
        raise ModelError(
            "too many files for a model",
            where=str(folder),
            expected=f"at most {FILES_MAX}",
            got=str(len(names)),
        )
    return names
