"""The float network that a shipped model was made of: the recipe's file, or ImageNet weights."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, Final

import keras

from edge.errors import ModelError, boundary
from edge.model import locate
from edge.model.card import ModelCard
from models import backbones, features, options, weights

MADE_BY: Final = {
    model: backbone
    for table in (options.NETWORKS, features.FOLDERS)
    for backbone, model in table.items()
}
"""Folder of a shipped model -> its backbone."""


def find(model: str) -> tuple[Path, ModelCard]:
    """Return the folder and the card of ``model``, a name in models/ or a path."""
    shipped = options.ROOT / "models" / model
    folder = shipped if (shipped / locate.CARD).is_file() else Path(model)
    if not (folder / locate.CARD).is_file():
        names = sorted(card.parent.name for card in shipped.parent.glob(f"*/{locate.CARD}"))
        raise ModelError(
            f"no {locate.CARD} in this folder",
            where=str(folder),
            expected=f"{', '.join(names)}, or a folder with a card",
        )
    card = locate.read(folder / locate.CARD)
    if card.head:
        raise ModelError(
            "the model has a head of its own",
            where=str(folder / locate.CARD),
            expected="a model that is one network",
            hint="write its backbone, and apply the head to the features",
        )
    return folder, card


def pooled(name: str, file: Path | None) -> Any:
    """Return the backbone ``name`` with its ImageNet weights: pictures to features (N, 1280)."""
    body = backbones.build(backbones.BACKBONES[name], weights.of(name, file))
    return keras.Model(body.input, keras.layers.GlobalAveragePooling2D()(body.output))


def read(file: Path, card: ModelCard) -> Any:
    """Return the Keras network in ``file``. Raises ModelError where it is not the card's."""
    if not file.is_file():
        hint = "run `make model` first, or name its folder with --out"
        raise ModelError("no float network", where=str(file), hint=hint)
    if not zipfile.is_zipfile(file):
        expected = "a .keras file, as models.train writes it"
        raise ModelError("not a Keras network", where=str(file), expected=expected)
    with boundary(ModelError, "Keras cannot read the network", str(file)):
        network = keras.models.load_model(file, compile=False)
    if network.output_shape != (None, len(card.labels)):
        raise ModelError(
            "the network does not fit the card",
            where=str(file),
            expected=f"{len(card.labels)} scores",
            got=str(network.output_shape),
            hint="name the card's network with --backbone or --name",
        )
    return network
