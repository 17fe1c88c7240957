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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge import files
from edge.errors import ConfigError, ModelError
from edge.model import installed
from edge.model.card import MODEL_MAX_BYTES

MODELS_MAX: Final = 50
BYTES_MAX: Final = 500_000_000
FILES_MAX: Final = 100
"""Of one model."""


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

    name, version  as in its card
    """
    reference = f"{name}@{version or 1}"
    place = installed.added()
    if not installed.is_name(reference) or "@" in name or "@" in version:
        raise ModelError(
            "the name cannot be a folder's",
            where=str(source),
            expected="name and version of letters, digits, `.`, `_` and `-`",
            got=reference,
            hint="change name and version in model.toml",
        )
    if (installed.places()[0] / name / installed.CARD).is_file():
        raise ModelError(
            "the name belongs to a model that comes with this program",
            where=str(source),
            got=name,
            hint="change name in model.toml",
        )
    there = listing()
    content = list(_regular(source))
    size = sum(path.stat().st_size for path in content)
    if any(one.reference == reference for one in there):
        raise ModelError(
            "is there already",
            where=reference,
            hint=f"change version in model.toml, or `edge models remove {reference}`",
        )
    if len(there) >= MODELS_MAX or size + sum(one.bytes for one in there) > BYTES_MAX:
        raise ModelError(
            "no room for another model",
            where=str(place),
            expected=f"at most {MODELS_MAX} models and {BYTES_MAX // 1_000_000} MB",
            hint="remove one: `edge models list`",
        )
    with _writing(place):
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".add-", dir=place) as temporary:
            made = Path(temporary) / reference
            made.mkdir()
            for path in content:
                _copy(path, made / path.name)
            _belong(place, made)
            made.rename(place / reference)
            _sync(place)
    return Stored(reference, place / reference, size)


def remove(reference: str) -> Stored:
    """Remove a model from the store; return what it was. Raises EdgeError."""
    known = {one.reference: one for one in listing()}
    if reference not in known:
        names = ", ".join(known) or "none"
        raise ModelError("is not among the added models", where=reference, expected=names)
    gone = known[reference]
    with _writing(gone.folder.parent):
        hidden = Path(tempfile.mkdtemp(prefix=".gone-", dir=gone.folder.parent))
        gone.folder.rename(hidden / "model")  # in one step: half a model is never found
        shutil.rmtree(hidden)
    return gone


def tidy() -> None:
    """Remove what an interrupted ``add`` or ``remove`` has left."""
    with contextlib.suppress(OSError):
        for pattern in (".add-*", ".gone-*"):
            for path in installed.added().glob(pattern):
                shutil.rmtree(path, ignore_errors=True)


def _regular(folder: Path) -> Iterator[Path]:
    """Yield the files of a model's folder. Raises ModelError for anything else in it."""
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
    yield from entries


def _copy(source: Path, to: Path) -> None:
    try:
        content = files.read(source, MODEL_MAX_BYTES)
    except OSError as exc:
        raise ModelError(f"cannot be read: {exc.strerror}", where=str(source)) from exc
    with to.open("xb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _belong(place: Path, made: Path) -> None:
    """Give a model to the owner of the state directory: root may have added it."""
    owner = place.parent.stat()
    for path in (place, made, *made.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
        if os.geteuid() == 0:
            os.chown(path, owner.st_uid, owner.st_gid)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _size(folder: Path) -> int:
    with contextlib.suppress(OSError):
        return sum(path.lstat().st_size for path in folder.iterdir())
    return 0


@contextlib.contextmanager
def _writing(place: Path) -> Iterator[None]:
    """Turn what the file system refuses into one line."""
    try:
        yield
    except OSError as exc:
        denied = isinstance(exc, PermissionError)
        raise ConfigError(
            f"the models cannot be changed: {exc.strerror}",
            where=str(place),
            hint="as root, or as the service's user" if denied else "",
        ) from exc
