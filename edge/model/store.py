"""Models that this device was given: folders ``NAME@VERSION`` in the state directory.

Rule 1: a model is there whole or not at all: it is copied under another name, and renamed.
Rule 2: only regular files are copied; the store is bounded in models and bytes.
Rule 3: no name of a model that comes with this program is taken.

A network that several heads share is not copied: such a card names it, see [head].
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge import files
from edge.config import Config
from edge.errors import ModelError
from edge.model import installed
from edge.model.card import MODEL_MAX_BYTES
from edge.model.workspace import locked, owned, sync, workspace, writing

MODELS_MAX: Final = 50
BYTES_MAX: Final = 500_000_000
FILES_MAX: Final = 100
"""Of one model."""
_SIGNED: Final = (installed.MANIFEST, installed.SIGNATURE)


@dataclass(frozen=True, slots=True)
class Stored:
    """A model in the store. reference: NAME@VERSION, as ``model.path`` takes it."""

    reference: str
    folder: Path
    bytes: int


def listing() -> list[Stored]:
    """Return every model of the store, in order of name and version."""
    place = installed.added()
    found = []
    for name in installed.names():
        folder = installed.folder(name)
        if folder is not None and folder.parent == place:
            found.append(Stored(name, folder, _size(folder)))
    return sorted(found, key=lambda one: installed.order(one.reference))


def add(source: Path, name: str, version: str) -> Stored:
    """Copy the model in the folder ``source``, which has proven itself. Raises EdgeError.

    The signature of a bundle is left out: here nobody has verified it.

    name, version  as in its card
    """
    reference = f"{name}@{version or 1}"
    content = [path for path in regular(source) if path.name not in _SIGNED]
    check(reference, str(source), sum(path.stat().st_size for path in content))
    with workspace() as folder:
        made = folder / "model"
        with writing(folder):
            made.mkdir()
            for path in content:
                _copy(path, made / path.name)
        with locked():
            return adopt(made, reference, str(source))


def check_name(reference: str, where: str) -> None:
    """Raise ModelError where no added model can have the name NAME@VERSION."""
    name, _, version = reference.partition("@")
    if not installed.is_name(reference) or not name or "@" in version:
        raise ModelError(
            "the name cannot be a folder's",
            where=where,
            expected="name and version of letters, digits, `.`, `_` and `-`",
            got=reference,
            hint="change name and version in model.toml",
        )
    if (installed.places()[0] / name / installed.CARD).is_file():
        raise ModelError(
            "the name belongs to a model that comes with this program",
            where=where,
            got=name,
            hint="change name in model.toml",
        )


def check(reference: str, where: str, size: int) -> None:
    """Raise ModelError where a model cannot be added as NAME@VERSION.

    where  its source
    size   of its files in bytes
    """
    check_name(reference, where)
    there = listing()
    if any(one.reference == reference for one in there):
        raise ModelError(
            "is there already",
            where=reference,
            hint=f"change version in model.toml, or `edge models remove {reference}`",
        )
    if len(there) >= MODELS_MAX or size + sum(one.bytes for one in there) > BYTES_MAX:
        raise ModelError(
            "no room for another model",
            where=str(installed.added()),
            expected=f"at most {MODELS_MAX} models and {BYTES_MAX // 1_000_000} MB",
            hint="remove one: `edge models list`",
        )


def check_signed_only(config: Config, where: str) -> None:
    """Raise ModelError where the config wants signed models alone; for one that is not signed."""
    if config.bundles.signed_only:
        raise ModelError(
            "this device adds signed models only",
            where=where,
            expected="a NAME-VERSION.edgemodel",
            hint="bundles.signed_only in the config; `edge models sign` makes one",
        )


def adopt(made: Path, reference: str, where: str) -> Stored:
    """Give a model its name: a folder in a ``workspace``, all of it written to the disk.

    In ``locked`` only. where: its source. Raises EdgeError.
    """
    size = _size(made)
    check(reference, where, size)
    place = installed.added()
    with writing(place):
        owned(place, place.parent)
        for path in (made, *made.iterdir()):
            owned(path, place.parent)
        sync(made)
        made.rename(place / reference)
        sync(place)
    return Stored(reference, place / reference, size)


def remove(reference: str) -> Stored:
    """Remove a model from the store; return what it was. Raises EdgeError."""
    known = {one.reference: one for one in listing()}
    if reference not in known:
        names = ", ".join(known) or "none"
        raise ModelError("is not among the added models", where=reference, expected=names)
    gone = known[reference]
    with writing(gone.folder.parent):
        hidden = Path(tempfile.mkdtemp(prefix=".gone-", dir=gone.folder.parent))
        gone.folder.rename(hidden / "model")  # in one step: half a model is never found
        shutil.rmtree(hidden)
    return gone


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


def _copy(source: Path, to: Path) -> None:
    try:
        content = files.read(source, MODEL_MAX_BYTES)
    except OSError as exc:
        raise ModelError(f"cannot be read: {exc.strerror}", where=str(source)) from exc
    with to.open("xb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _size(folder: Path) -> int:
    with contextlib.suppress(OSError):
        return sum(path.lstat().st_size for path in folder.iterdir())
    return 0
