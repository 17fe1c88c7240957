"""Models that this device was given: folders ``NAME@VERSION`` in the state directory.

Rule 1: a model is there whole or not at all: it is copied under another name, and renamed.
Rule 2: the store is bounded in models and bytes.
Rule 3: no name of a model that comes with this program is taken.

A network that several heads share is not copied: such a card names it, see [head].
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.config import Config, ModelConfig
from edge.errors import ModelError
from edge.model import installed, source
from edge.model.card import ModelCard
from edge.model.engine import start
from edge.model.workspace import locked, readable, sync, workspace, writing

MODELS_MAX: Final = 50
BYTES_MAX: Final = 500_000_000


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


def add(folder: Path, name: str, version: str) -> Stored:
    """Copy the model in a folder, which has proven itself. Raises EdgeError.

    name, version  as in its card
    """
    reference = f"{name}@{version or 1}"
    check(reference, str(folder), sum(path.stat().st_size for path in source.content(folder)))
    return install(source.opened(folder), str(folder), lambda _: reference)


def install(opened: dict[str, int], where: str, prove: Callable[[Path], str]) -> Stored:
    """Copy the files of ``source.opened`` and close them; prove the copy, adopt it. EdgeError.

    where  the folder that they are from
    prove  returns name and version of the copy, as NAME@VERSION
    """
    try:
        check_room(sum(os.fstat(file).st_size for file in opened.values()))
        with workspace() as folder:
            copy = folder / "model"
            with writing(folder):
                copy.mkdir()
                source.copy(opened, copy, where)
            reference = prove(copy)
            with locked():
                return adopt(copy, reference, where)
    finally:
        source.close(opened)


def prove(folder: Path, where: str, model: ModelConfig) -> ModelCard:
    """Return the card of the model in ``folder``, which runs. Raises ModelError.

    where  of error lines, instead of ``folder``
    model  [model]: how it is proven
    """
    try:
        return start(model.alone(str(folder))).card
    except ModelError as exc:
        place = exc.where.replace(str(folder), where)
        raise ModelError(
            exc.what, where=place, expected=exc.expected, got=exc.got, hint=exc.hint
        ) from exc.__cause__


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
    if any(one.reference == reference for one in listing()):
        raise ModelError(
            "is there already",
            where=reference,
            hint=f"change version in model.toml, or `edge models remove {reference}`",
        )
    check_room(size)


def check_room(size: int) -> None:
    """Raise ModelError where there is no room for a model of ``size`` bytes."""
    there = listing()
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
        for path in (made, *made.iterdir()):
            readable(path)
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


def _size(folder: Path) -> int:
    with contextlib.suppress(OSError):
        return sum(path.lstat().st_size for path in folder.iterdir())
    return 0
