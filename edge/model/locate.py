"""Finds a model and reads its card, ``model.toml``; knows no TFLite.

A model is given by its name (see installed), as a folder with a card, a card, or a ``.tflite``
file. A card's ``backbone`` is found in the same way; then the network's file is the backbone's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edge.errors import ModelError
from edge.model import bundle, cardfile, installed
from edge.model import labels as lists
from edge.model.cardfile import read as read
from edge.model.installed import CARD as CARD
from edge.model.installed import shipped as shipped
from edge.model.modelfile import Card, opened
from edge.model.modelfile import ModelFile as ModelFile

Gives = Literal["scores", "features"]
"""What is wanted of a model."""


def find(model: str, gives: Gives = "scores") -> ModelFile:
    """Return the card of ``model``, the path of its ``.tflite`` file and the file's metadata.

    model  a name, a folder, a card or a model file; empty for the shipped model
    gives  scores, by itself or by a head; or features, which is a backbone
    Raises ModelError where something is missing, the file is not the one the card describes, or
    the model gives something else.
    """
    try:
        file = _find(_path(model))
    except ModelError:
        raise
    except (OSError, RuntimeError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise ModelError(f"the model cannot be read: {reason}", where=model) from exc
    lists.check(file.card.labels, file.where)
    only_features = bundle.gives_features(file.card)
    if only_features and gives == "scores":
        raise ModelError(
            f"{file.card.name} gives features, no scores",
            where=str(file.place),
            expected="a classifier, or a card with [head]",
            hint="see docs/models.md",
        )
    if gives == "features" and not only_features:
        raise ModelError(
            f"{file.card.name} gives scores, no features",
            where=str(file.place),
            expected='a card with `activation = "features"`',
        )
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
    found = _card(path)
    if found.card is None or not found.card.backbone:
        return opened(found)
    card, where = found.card, f"{found.place}: backbone"
    inner = _card(_backbone_path(card.backbone, found.place.parent, where))
    if inner.card is None or not bundle.gives_features(inner.card):
        raise ModelError(
            "the backbone gives no features",
            where=where,
            expected='a model with `activation = "features"` in its card',
            got=str(inner.place),
        )
    backbone = opened(inner)
    if backbone.sha256 != card.sha256:
        raise ModelError(
            "the backbone is not the one that the head was made for",
            where=where,
            expected=f"sha256 {card.sha256[:16]}...",
            got=f"{backbone.sha256[:16]}... ({backbone.path})",
            hint="teach the head again, or restore the backbone",
        )
    card, given = bundle.on_backbone(card, found.given, found.place, inner.card, inner.given)
    return ModelFile(card, backbone.path, backbone.sha256, given, backbone.stated, found.place)


def _backbone_path(backbone: str, folder: Path, where: str) -> Path:
    """Return the path of a card's backbone: an installed model, or a path from the card."""
    path = installed.folder(backbone) or folder / Path(backbone).expanduser()
    if installed.is_name(backbone) and not path.exists():
        raise installed.unknown(backbone, where)
    return path


def _card(path: Path) -> Card:
    """Return the card that ``path`` is, holds or has beside it."""
    if path.is_dir():
        path = path / CARD
    if not path.exists():
        raise ModelError(
            "model not found",
            where=str(path),
            hint=f"give a .tflite file, or a folder with a {CARD} in it",
        )
    if path.suffix == ".toml":
        card, given = cardfile.read_given(path)
        model = path.parent / card.file
        if not model.exists():
            raise ModelError("the card's model file is missing", where=str(model))
        return Card(card, given, model, path)
    beside = path.parent / CARD
    if beside.is_file():
        card, given = cardfile.read_given(beside)
        if card.file == path.name:
            return Card(card, given, path, beside)
    return Card(None, frozenset(), path, path)
