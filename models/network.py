"""MobileNetV2 with a head of our own, on Keras's published ImageNet weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import keras
import numpy as np

ALPHA: Final = 0.35
SIDE: Final = 224


def build(labels_total: int, weights: Path | None, seed: int) -> tuple[Any, Any]:
    """Return (model, base): input (N, SIDE, SIDE, 3) float32 in -1 to 1.

    weights  .npz with ``layer/weight`` keys; None lets Keras fetch its own
    The output is one sigmoid, P(second label), for two labels; a softmax for more.
    """
    base = keras.applications.MobileNetV2(
        input_shape=(SIDE, SIDE, 3),
        alpha=ALPHA,
        include_top=False,
        weights=None if weights else "imagenet",
    )
    if weights:
        load_weights(base, weights)
    features = keras.layers.GlobalAveragePooling2D()(base(base.input, training=False))
    dropped = keras.layers.Dropout(0.3, seed=seed)(features)
    head = keras.layers.Dense(
        1 if labels_total == 2 else labels_total,
        activation="sigmoid" if labels_total == 2 else "softmax",
        kernel_initializer=keras.initializers.GlorotUniform(seed),
        name="head",
    )
    return keras.Model(base.input, head(dropped)), base


def load_weights(base: Any, path: Path) -> None:
    """Set every weight of ``base`` from an .npz whose keys are ``layer/weight``."""
    with np.load(path, allow_pickle=False) as arrays:
        for layer in base.layers:
            if not layer.weights:
                continue
            values = []
            for weight in layer.weights:
                key = f"{layer.name}/{weight.name}"
                if key not in arrays:
                    key = f"{layer.name}/depthwise_{weight.name}"
                values.append(arrays[key])
            layer.set_weights(values)
