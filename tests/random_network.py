"""Makes a network with random weights as the recipe would write it: Keras's file, TFLite, card.

    .venv-train/bin/python -m tests.random_network BACKBONE KIND SIDE FOLDER LABEL ...

Writes FOLDER/BACKBONE.keras and FOLDER/KIND/{model.tflite,model.toml}, KIND float32 or int8. Each
picture gets other scores: random, but far from alike. Runs in the environment of training.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edge.model.card import ModelCard, Output, Preprocessing
from models import backbones, metadata, network


def randomise(model: Any) -> None:
    """Set random weights that keep values of the same size from layer to layer.

    Source: He et al. 2015.
    """
    random = np.random.default_rng(2)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            inputs = np.prod(kernel.shape[: 2 if depthwise else -1])
            kernel = random.normal(0, np.sqrt(2 / inputs), kernel.shape)
            layer.set_weights([kernel, random.normal(0, 0.1, bias.shape)])


def calibration(side: int, backbone: backbones.Backbone) -> Iterator[list[NDArray[np.float32]]]:
    """Yield pictures of coarse random patches as the network's real input."""
    random = np.random.default_rng(3)
    for _ in range(40):
        coarse = random.integers(0, 256, (1, 8, 8, 3))
        pixels = tf.image.resize(coarse, (side, side)).numpy()
        yield [((pixels - backbone.mean) / backbone.std).astype(np.float32)]


def convert(model: Any, kind: str, side: int, backbone: backbones.Backbone) -> bytes:
    """Return the network as TFLite; int8 with uint8 input and output."""
    converter = tf.lite.TFLiteConverter.from_keras_model(network.at_size(model, side))
    if kind == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: calibration(side, backbone)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.uint8
    return bytes(converter.convert())


def main(name: str, kind: str, side: int, folder: Path, labels: tuple[str, ...]) -> None:
    """Make the network, convert it, write all files."""
    backbone = backbones.BACKBONES[name]
    model = network.build(len(labels), backbone, None, 1)
    randomise(model)
    model.save(folder / f"{name}.keras")
    card = ModelCard(
        name=name,
        file="model.tflite",
        labels=labels,
        license="none",
        preprocessing=Preprocessing(central_fraction=0.875, mean=backbone.mean, std=backbone.std),
        output=Output("softmax"),
    )
    place = folder / kind
    place.mkdir()
    (place / card.file).write_bytes(metadata.embed(convert(model, kind, side, backbone), card))
    tables = msgspec.to_builtins(card)
    how = {key: value for key, value in tables["preprocessing"].items() if value is not None}
    written: dict[str, Any] = {"name": name, "file": card.file, "labels": labels, "license": card.license}
    written |= {"preprocessing": how, "output": tables["output"]}
    (place / "model.toml").write_bytes(msgspec.toml.encode(written))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), tuple(sys.argv[5:]))
