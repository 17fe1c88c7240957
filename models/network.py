"""Networks: MobileNetV2 with Keras's published ImageNet weights, and the student's head."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import keras
import numpy as np

from edge.errors import ConfigError

HEAD_UNITS: Final = {2: 128}
HEAD_UNITS_MORE: Final = 256
L2: Final = 1e-4


def base(alpha: float, weights: Path | None) -> Any:
    """Return MobileNetV2 without its top, for pictures (N, H, W, 3) float32 in -1 to 1.

    weights  .npz with ``layer/weight`` keys; None: Keras downloads its own
    """
    network = keras.applications.MobileNetV2(
        input_shape=(None, None, 3),
        alpha=alpha,
        include_top=False,
        weights=None if weights else "imagenet",
    )
    if weights:
        load_weights(network, weights)
    return network


def build(labels_total: int, alpha: float, weights: Path | None, seed: int) -> Any:
    """Return the student: scores (N, 1), P(second label), for two labels; else (N, C)."""
    body = base(alpha, weights)
    initial = keras.initializers.GlorotUniform
    x = keras.layers.GlobalAveragePooling2D(name="pool")(body.output)
    x = keras.layers.Dropout(0.3, seed=seed, name="dropout")(x)
    x = keras.layers.Dense(
        HEAD_UNITS.get(labels_total, HEAD_UNITS_MORE),
        use_bias=False,
        kernel_regularizer=keras.regularizers.L2(L2),
        kernel_initializer=initial(seed),
        name="head",
    )(x)
    x = keras.layers.BatchNormalization(name="head_bn", momentum=0.9)(x)
    x = keras.layers.ReLU(6.0, name="head_relu")(x)
    x = keras.layers.Dense(
        1 if labels_total == 2 else labels_total,
        activation="sigmoid" if labels_total == 2 else "softmax",
        kernel_initializer=initial(seed + 1),
        name="scores",
    )(x)
    return keras.Model(body.input, x)


def unfreeze(model: Any, first: str | None) -> None:
    """Make the layers from ``first`` on trainable, and the head; None: only the head.

    The BatchNorms of MobileNetV2 stay frozen, those of the head learn.
    """
    names = [layer.name for layer in model.layers]
    begin = names.index(first) if first else names.index("pool")
    for index, layer in enumerate(model.layers):
        frozen_bn = isinstance(layer, keras.layers.BatchNormalization) and layer.name != "head_bn"
        layer.trainable = index >= begin and not frozen_bn


def at_size(model: Any, side: int) -> Any:
    """Return ``model`` for one picture of a fixed size, as a converter needs it."""
    fixed = keras.Input((side, side, 3), batch_size=1)
    return keras.Model(fixed, model(fixed, training=False))


def load_weights(network: Any, path: Path) -> None:
    """Set every weight of ``network`` from an .npz whose keys are ``layer/weight``."""
    try:
        arrays = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as exc:
        raise ConfigError("weights cannot be read", where=str(path), got=str(exc)) from exc
    with arrays:
        for layer in network.layers:
            values = []
            for weight in layer.weights:
                key = f"{layer.name}/{weight.name}"
                if key not in arrays:
                    key = f"{layer.name}/depthwise_{weight.name}"
                if key not in arrays or arrays[key].shape != tuple(weight.shape):
                    raise ConfigError(
                        "weights do not fit the network",
                        where=str(path),
                        expected=f"{layer.name}/{weight.name} of {tuple(weight.shape)}",
                        got=str(arrays[key].shape) if key in arrays else "none",
                        hint="give weights of MobileNetV2 without top, of the width --alpha",
                    )
                values.append(arrays[key])
            if values:
                layer.set_weights(values)
