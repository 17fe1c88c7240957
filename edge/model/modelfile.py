"""Opens a model's file: its checksum, what it says of itself, and its labels.

A file without a card beside it gets a default one: its labels come from ``labels.txt`` beside it,
or from the label file that TFLite metadata packs into the model itself. What a card leaves out, the
file may say. Hashes the whole file: a large one takes a second. Knows no TFLite.
"""

from __future__ import annotations

import hashlib
import os
from io import BufferedReader
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from edge import files
from edge.errors import ModelError
from edge.model import bundle, cardfile, metadata
from edge.model import labels as lists
from edge.model.card import MODEL_MAX_BYTES, ModelCard, Stated
from edge.model.installed import CARD

LABELS: Final = "labels.txt"


class Card(NamedTuple):
    """A card, None where there is none; its keys, the network's file, and the card's own."""

    card: ModelCard | None
    given: frozenset[str]
    path: Path
    place: Path


class ModelFile(NamedTuple):
    """A model's file and its card.

    card    with a backbone: completed from that of the backbone
    path    of the network's file, with a backbone that of the backbone
    sha256  of the same
    given   keys that its card has: "name", "preprocessing.mean" ...; empty without a card
    stated  the file's own metadata
    place   the card's file; without a card the model's
    """

    card: ModelCard
    path: Path
    sha256: str
    given: frozenset[str]
    stated: Stated
    place: Path

    @property
    def folder(self) -> Path:
        """Where head and golden picture lie."""
        return self.place.parent

    @property
    def where(self) -> str:
        """What an error about the model names."""
        return str(self.place if self.card.backbone else self.path)


def opened(found: Card) -> ModelFile:
    """Return the model with its file read once: checksum, metadata, labels."""
    card, path = found.card, found.path
    try:
        opened = os.fdopen(files.open_regular(path), "rb")
    except OSError as exc:
        raise ModelError(f"the model cannot be read: {exc.strerror}", where=str(path)) from exc
    with opened as file:
        sha256 = _checked(file, path, card.sha256 if card else "")
        stated = metadata.stated(file.fileno())
        if card is None:
            card = ModelCard(path.stem, path.name, _labels(file, path, stated.labels))
        elif not card.labels and not bundle.gives_features(card):
            labels = _labels(file, path, stated.labels)
            card = msgspec.structs.replace(card, labels=labels)
            cardfile.check_labelled(card, found.place)
    return ModelFile(card, path, sha256, found.given, stated, found.place)


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
