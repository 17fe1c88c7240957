"""Three variants of one public network, for measuring runtimes: float, int8 and uint8.

    .venv-train/bin/python -m deploy.runtime.networks OUT [--weights NPZ]

MobileNetV2, width 1.0, 224x224, 1,000 classes: float.tflite, int8.tflite (one scale a channel) and
uint8.tflite (one scale a tensor, the older kind, which today's converter does not write: an int8
model with one scale a tensor, every zero point and weight raised by 128). The last layer's weights
are random, from a seed: they do not influence speed.

Needs the `train` packages. Knows no runtime.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import cv2
import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from edge.pictures.read import read_pixels
from models import backbones

DEMO: Final = Path(__file__).resolve().parents[1] / "demo" / "pictures"
CLASSES: Final = 1000
SIDE: Final = 224


def build(weights: Path | None) -> keras.Model:
    """Return the network."""
    keras.utils.set_random_seed(6)
    kept = backbones.read(weights) if weights else None
    base = backbones.build(backbones.mobilenet(1.0), kept)
    picture = keras.Input((SIDE, SIDE, 3), batch_size=1)
    pooled = keras.layers.GlobalAveragePooling2D()(base(picture))
    wide = keras.initializers.RandomNormal(stddev=0.2, seed=6)  # so that one class stands out
    head = keras.layers.Dense(CLASSES, activation="softmax", kernel_initializer=wide)
    return keras.Model(picture, head(pooled))


def pictures() -> Iterator[list[np.ndarray[Any, Any]]]:
    """Yield the demo's pictures, from -1 to 1."""
    for path in sorted(DEMO.glob("*.jpg")):
        pixels = read_pixels(path)
        square = cv2.resize(pixels[..., ::-1], (SIDE, SIDE))
        yield [square[None].astype(np.float32) / 127.5 - 1]


def convert(model: keras.Model, kind: str) -> bytes:
    """Return the model as TFLite: "float", "int8" or "uint8"."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if kind == "float":
        return bytes(converter.convert())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = pictures
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    converter._experimental_disable_per_channel = kind == "uint8"
    written = bytes(converter.convert())
    return raised(written) if kind == "uint8" else written


def raised(int8: bytes) -> bytes:
    """Return an int8 model with one scale a tensor as a uint8 model: all 128 higher."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(int8))
    (graph,) = model.subgraphs
    done: set[int] = set()
    for tensor in graph.tensors:
        if tensor.type != schema.TensorType.INT8:
            continue
        if len(tensor.quantization.scale) != 1:
            raise ValueError(f"{tensor.name.decode()} has a scale for each channel")
        tensor.type = schema.TensorType.UINT8
        tensor.quantization.zeroPoint = [int(tensor.quantization.zeroPoint[0]) + 128]
        stored = model.buffers[tensor.buffer]
        if stored.data is not None and len(stored.data) and tensor.buffer not in done:
            stored.data = np.frombuffer(bytes(stored.data), np.uint8) ^ 0x80
            done.add(tensor.buffer)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def main() -> int:
    """Write the three files."""
    parser = argparse.ArgumentParser(prog="deploy.runtime.networks")
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", type=Path, help=".npz (default: random, from a seed)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    model = build(args.weights)
    for kind in ("float", "int8", "uint8"):
        path = args.out / f"{kind}.tflite"
        path.write_bytes(convert(model, kind))
        print(path, path.stat().st_size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
