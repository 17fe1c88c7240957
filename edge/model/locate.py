"""Finds a model and reads its card, ``model.toml``; knows no TFLite.

A model is given by its name (see installed), as a folder with a card, a card, or a ``.tflite``
file. A file without a card beside it gets a default one: its labels come from ``labels.txt`` beside
it, or from the label file that TFLite metadata packs into the model itself. What a card leaves out,
the file may say.
Hashes the whole file: a large one takes a second.
"""

from __future__ import annotations

import hashlib
import math
import os
from io import BufferedReader
from pathlib import Path
from typing import Any, Final, NamedTuple

from edge import files, toml
from edge.errors import ModelError
from edge.model import installed, metadata
from edge.model import labels as lists
from edge.model.card import MODEL_MAX_BYTES, Golden, ModelCard, Stated
from edge.model.installed import CARD as CARD
from edge.model.installed import shipped as shipped

LABELS: Final = "labels.txt"


class ModelFile(NamedTuple):
    """A model's file and its card.

    given   keys that its card has: "name", "preprocessing.mean" ...; empty without a card
    stated  the file's own metadata
    """

    card: ModelCard
    path: Path
    sha256: str
    given: frozenset[str]
    stated: Stated


def find(model: str) -> ModelFile:
    """Return the card of ``model``, the path of its ``.tflite`` file and the file's metadata.

    model  a name, a folder, a card or a model file; empty for the shipped model
    Raises ModelError where something is missing or the file is not the one the card describes.
    """
    try:
        file = _find(_path(model))
    except ModelError:
        raise
    except (OSError, RuntimeError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise ModelError(f"the model cannot be read: {reason}", where=model) from exc
    lists.check(file.card.labels, str(file.path))
    return file


def _path(model: str) -> Path:
    """Return the path of a model; a name that no model has may still be a file's."""
    if not model:
        return shipped()
    path = installed.folder(model) or Path(model).expanduser()
    if installed.is_name(model) and not path.exists():
        raise installed.unknown(model, "model.path")
    return path


def _find(path: Path) -> ModelFile:
    if path.is_dir():
        path = path / CARD
    if not path.exists():
        raise ModelError(
            "model not found",
            where=str(path),
            hint=f"give a .tflite file, or a folder with a {CARD} in it",
        )
    card, given, path = _card(path)
    try:
        opened = os.fdopen(files.open_regular(path), "rb")
    except OSError as exc:
        raise ModelError(f"the model cannot be read: {exc.strerror}", where=str(path)) from exc
    with opened as file:
        sha256 = _checked(file, path, card.sha256 if card else "")
        stated = metadata.stated(file.fileno())
        if card is None:
            card = ModelCard(path.stem, path.name, _labels(file, path, stated.labels))
    return ModelFile(card, path, sha256, given, stated)


def _card(path: Path) -> tuple[ModelCard | None, frozenset[str], Path]:
    """Return the card that ``path`` is or has beside it, its keys, and the model's file."""
    if path.suffix == ".toml":
        card, given = _read(path)
        model = path.parent / card.file
        if not model.exists():
            raise ModelError("the card's model file is missing", where=str(model))
        return card, given, model
    beside = path.parent / CARD
    if beside.is_file():
        card, given = _read(beside)
        if card.file == path.name:
            return card, given, path
    return None, frozenset(), path


def read(path: Path) -> ModelCard:
    """Return the card in the file ``path``. Raises ModelError."""
    return _read(path)[0]


def _read(path: Path) -> tuple[ModelCard, frozenset[str]]:
    tables: dict[str, Any] = toml.read(path, ModelError)
    card = toml.convert(tables, ModelCard, str(path), ModelError)
    if card.golden:
        _check_golden(card.golden, len(card.labels), path)
    given = set(tables)
    for part in ("preprocessing", "output"):
        given |= {f"{part}.{key}" for key in tables.get(part, {})}
    return card, frozenset(given)


def _check_golden(golden: Golden, labels_total: int, path: Path) -> None:
    """Raise ModelError unless there is a probability for each label."""
    if len(golden.scores) != labels_total:
        raise ModelError(
            "wrong number of scores",
            where=f"{path}: golden.scores",
            expected=f"{labels_total}, one per label",
            got=str(len(golden.scores)),
        )
    if not all(0 <= score <= 1 for score in golden.scores):
        raise ModelError(
            "wrong score",
            where=f"{path}: golden.scores",
            expected="numbers from 0 to 1",
            got=str(list(golden.scores)),
        )
    if math.isnan(golden.tolerance):
        raise ModelError("not a number", where=f"{path}: golden.tolerance", expected="0 to 1")


def _checked(file: BufferedReader, path: Path, sha256: str) -> str:
    """Return the sha256 of ``file``, which must be a TFLite file and have ``sha256`` if given."""
    size = os.fstat(file.fileno()).st_size
    if size > MODEL_MAX_BYTES:
        raise ModelError(
            "the model file is too large",
            where=str(path),
            expected=f"at most {MODEL_MAX_BYTES} bytes",
            got=str(size),
        )
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 and digest != sha256:
        raise ModelError(
            "the model file is not the one its card describes",
            where=str(path),
            expected=f"sha256 {sha256[:16]}...",
            got=f"{digest[:16]}... ({size} bytes)",
            hint="restore the file, or correct `sha256` in the card if the change is intended",
        )
    identifier = os.pread(file.fileno(), 4, 4)
    if identifier != b"TFL3":
        raise ModelError(
            "not a TFLite model",
            where=str(path),
            expected="the identifier TFL3 at byte 4",
            got=f"{identifier!r} in {size} bytes",
            hint="convert the model to .tflite first",
        )
    return digest


def _labels(file: BufferedReader, path: Path, packed_as: str) -> tuple[str, ...]:
    """Return the labels of a model that has no card."""
    beside = path.parent / LABELS
    if beside.exists():
        labels, where = lists.beside(beside), str(beside)
    else:
        labels, where = lists.packed(file, packed_as, str(path)), str(path)
    if not labels:
        raise ModelError(
            "the model has no labels",
            where=where,
            hint=f"put a {LABELS} (one per line, in output order) or a {CARD} beside it",
        )
    return labels
