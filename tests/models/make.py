"""Make the tiny colour classifiers that the tests run: which of red, green and blue prevails?

Writes {int8,uint8io,uint8,float,sigmoid}.tflite beside itself, 32 x 32 RGB in, and features.tflite:
the same network without its last layer, int8 inside, 8 float32 features out. The weights are set by
hand, so the right answer for any picture is known. Needs the `train` packages; the
results are committed, so tests do not.

    .venv-train/bin/python -m tests.models.make [NAME ...]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from deploy.runtime.networks import raised

HERE = Path(__file__).parent
SIDE = 32


def network(sigmoid: bool = False, features: bool = False) -> keras.Model:
    """Return a network whose scores follow the mean of each colour; sigmoid: blue against red.

    features  the network ends with its 8 means: 1 + red, green, blue; 1 - red, green, blue; 1, 1
    """
    picture = keras.Input((SIDE, SIDE, 3), batch_size=1)
    blur = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu6")
    mean = keras.layers.GlobalAveragePooling2D()
    units = 1 if sigmoid else 3
    score = keras.layers.Dense(units, activation="sigmoid" if sigmoid else "softmax")
    pooled = mean(blur(picture))
    model = keras.Model(picture, pooled if features else score(pooled))
    kernel = np.zeros((3, 3, 3, 8), np.float32)
    for color in range(3):
        kernel[:, :, color, color] = 1 / 9
        kernel[:, :, color, 3 + color] = -1 / 9
    blur.set_weights([kernel, np.full(8, 1.0, np.float32)])
    if features:
        return model
    weights = np.zeros((8, units), np.float32)
    if sigmoid:
        weights[[0, 2], 0] = -3.0, 3.0
    else:
        weights[[0, 1, 2], [0, 1, 2]] = 3.0
    score.set_weights([weights, np.zeros(units, np.float32)])
    return model


def samples() -> Iterator[list[np.ndarray]]:
    """Yield calibration pictures over the whole range -1 to 1."""
    random = np.random.default_rng(1)
    for _ in range(50):
        color = random.uniform(-1, 1, (1, 1, 1, 3))
        noise = random.normal(0, 0.1, (1, SIDE, SIDE, 3))
        yield [np.clip(color + noise, -1, 1).astype(np.float32)]
    for value in (-1.0, 1.0):
        yield [np.full((1, SIDE, SIDE, 3), value, np.float32)]


def convert(model: keras.Model, kind: str) -> bytes:
    """Return the model as TFLite.

    kind  "float"; int8 inside with int8 ("int8"), uint8 ("uint8io"), or uint8 in and float32 out
          ("features"); "uint8"
    """
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if kind != "float":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        edge_type = tf.uint8 if kind in ("uint8io", "features") else tf.int8
        converter.inference_input_type = edge_type
        converter.inference_output_type = tf.float32 if kind == "features" else edge_type
        converter._experimental_disable_per_channel = kind == "uint8"
    written = bytes(converter.convert())
    return raised(written) if kind == "uint8" else written


def main() -> None:
    """Write every model, or those named."""
    softmax, sigmoid = network(), network(sigmoid=True)
    for name, model, kind in (
        ("int8", softmax, "int8"),
        ("uint8io", softmax, "uint8io"),
        ("uint8", softmax, "uint8"),
        ("float", softmax, "float"),
        ("sigmoid", sigmoid, "uint8io"),
        ("features", network(features=True), "features"),
    ):
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        path = HERE / f"{name}.tflite"
        path.write_bytes(convert(model, kind))
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
