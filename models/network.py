"""A classifier: a backbone, its features pooled, and a head."""

from __future__ import annotations

from typing import Any, Final

import keras

from models import backbones

DROPOUT: Final = 0.3


def build(
    labels_total: int, backbone: backbones.Backbone, weights: backbones.Arrays | None, seed: int
) -> Any:
    """Return the network: pictures (N, H, W, 3) float32 to probabilities (N, labels_total)."""
    body = backbones.build(backbone, weights)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(body.output)
    x = keras.layers.Dropout(DROPOUT, seed=seed, name="dropout")(x)
    x = keras.layers.Dense(
        labels_total,
        activation="softmax",
        kernel_initializer=keras.initializers.GlorotUniform(seed),
        name="scores",
    )(x)
    return keras.Model(body.input, x)


def unfreeze(model: Any, first: str | None) -> None:
    """Make the layers from ``first`` on trainable; None: only the head."""
    names = [layer.name for layer in model.layers]
    begin = names.index(first or "pool")
    for index, layer in enumerate(model.layers):
        layer.trainable = index >= begin


def at_size(model: Any, side: int) -> Any:
    """Return ``model`` for one picture of a fixed size, as a converter needs it."""
    fixed = keras.Input((side, side, 3), batch_size=1)
    return keras.Model(fixed, model(fixed, training=False))
