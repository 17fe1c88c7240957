"""The trained network becomes the shipped model: int8 inside, uint8 pixels in, uint8 score out.

    python -m models.export [--data DIR] [--out build/model] [--to models/catdog]

Reads OUT/student.keras and OUT/dataset.json; calibrates on training pictures; measures float and
int8 on the same test pictures; writes model.tflite, labels.txt, golden.png and model.toml, all in a
temporary folder that takes the old one's place only when it is whole.
"""

from __future__ import annotations

import hashlib
import shutil
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

from edge import startup
from edge.config import ModelConfig
from edge.errors import EdgeError, ModelError
from edge.types import Frame, Golden, ModelCard, Output, Preprocessing
from models import data, dataset, evaluate, network, options

CALIBRATION: Final = 400
"""Training pictures that the ranges of the activations are taken from."""
GOLDEN_PICTURE: Final = options.ROOT / "deploy" / "demo" / "pictures" / "cat_skimage_chelsea.jpg"
GOLDEN_TOLERANCE: Final = 0.1
LICENSE: Final = (
    "Weights derived from Keras's MobileNetV2 ImageNet weights (Apache-2.0); the training"
    " photographs (Dogs vs. Cats) state no open licence and are not distributed."
)


def representative(out: Path, side: int) -> Iterator[list[Any]]:
    """Yield calibration pictures as the daemon would feed them, (1, side, side, 3) float32."""
    found = dataset.load(out)
    train = found.indices("train")
    for index in train[:: max(1, len(train) // CALIBRATION)]:
        pixels = data.read_rgb(found.samples[index].path)
        yield [data.to_input(data.shrink(pixels, side)[None])]


def convert(model: Any, out: Path, side: int, *, int8: bool) -> bytes:
    """Return the network as TFLite: float32, or full int8 with uint8 input and output."""
    converter = tf.lite.TFLiteConverter.from_keras_model(network.at_size(model, side))
    if int8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: representative(out, side)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.uint8
    return bytes(converter.convert())


def write_model(
    folder: Path, content: bytes, labels: tuple[str, ...], golden_picture: Path | None
) -> ModelCard:
    """Write model, labels and card into ``folder``; return the card."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.tflite").write_bytes(content)
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    card = ModelCard(
        name="catdog",
        version="1",
        description="Cat or dog? MobileNetV2, alpha 0.35, 224 x 224, int8.",
        license=LICENSE,
        file="model.tflite",
        sha256=hashlib.sha256(content).hexdigest(),
        labels=labels,
        preprocessing=Preprocessing(),
        output=Output("sigmoid" if len(labels) == 2 else "softmax"),
    )
    write_card(folder, card)
    if golden_picture is None:
        return card
    frame = _picture(golden_picture)
    engine = startup.start(ModelConfig(path=str(folder)))
    side = engine.classifier.input.shape[1]
    cv2.imwrite(str(folder / "golden.png"), cv2.resize(frame.pixels, (side, side)))
    scores = np.empty(len(labels), np.float32)
    engine.classify(_picture(folder / "golden.png"), scores)
    kept = tuple(round(float(score), 4) for score in scores)
    return msgspec.structs.replace(card, golden=Golden("golden.png", kept, GOLDEN_TOLERANCE))


def _picture(path: Path) -> Frame:
    frame = startup.read_picture(path)
    if frame is None:
        raise ModelError("golden picture cannot be read", where=str(path))
    return frame


def write_card(folder: Path, card: ModelCard) -> None:
    """Write ``model.toml``; TOML has no null."""
    tables = {key: value for key, value in msgspec.to_builtins(card).items() if value is not None}
    (folder / "model.toml").write_bytes(msgspec.toml.encode(tables))


def replace_folder(new: Path, old: Path) -> None:
    """Put ``new`` in the place of ``old``, whole; files that only ``old`` has are kept.

    Between the two renames nothing stands in the place; the old folder is then beside it.
    """
    if not old.is_dir():
        new.rename(old)
        return
    for file in old.iterdir():
        if not (new / file.name).exists():
            shutil.copy2(file, new)
    before = old.with_name(f".{old.name}-before")
    shutil.rmtree(before, ignore_errors=True)
    old.rename(before)
    new.rename(old)
    shutil.rmtree(before)


def main() -> None:
    """Export, measure, and put the result in place."""
    parser = options.parser(__doc__)
    parser.add_argument("--to", type=Path, default=options.SHIPPED)
    parser.add_argument("--name", default="student", help="the trained network")
    parser.add_argument("--golden", type=Path, default=GOLDEN_PICTURE)
    args = parser.parse_args()
    trained = args.out / f"{args.name}.keras"
    if not trained.is_file():
        raise ModelError("no trained network", where=str(trained), mend="run models.train first")
    model = keras.models.load_model(trained, compile=False)
    labels = dataset.load(args.out).labels
    with tempfile.TemporaryDirectory(dir=args.to.parent, prefix=".export-") as temporary:
        accuracy: dict[str, dict[str, Any]] = {}
        for kind in ("float", "int8"):
            folder = Path(temporary) / kind
            content = convert(model, args.out, args.side, int8=kind == "int8")
            card = write_model(folder, content, labels, args.golden if kind == "int8" else None)
            for name, figures in evaluate.evaluate_all(folder, args.data, args.out).items():
                accuracy[f"{name}_{kind}"] = figures
                print(f"{kind} {len(content)} bytes, {name}: {figures}", flush=True)
        write_card(folder, msgspec.structs.replace(card, accuracy=accuracy))
        startup.start(ModelConfig(path=str(folder)))  # the new card must attest
        replace_folder(folder, args.to)
    print(args.to)


if __name__ == "__main__":
    try:
        main()
    except EdgeError as exc:
        sys.exit(str(exc))
