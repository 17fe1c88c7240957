"""The trained float network as ONNX, for TensorRT and onnxruntime; written only if proven equal.

    python -m models.onnx [--model catdog] [--out build/model] [--to build/onnx]

Reads the card of MODEL (a folder in models/, or a path), OUT/NAME.keras, whose scores it calibrates
as models.export does, and the validation pictures of OUT/dataset.json. A model that gives features
is made of its ImageNet weights instead, as models.features does. Writes TO/MODEL.onnx and, where
the card has a golden picture, TO/MODEL.golden.bin: that picture as the network's input, to compare
other runtimes with.

Input ``image``: (batch, 3, side, side) float32, (pixel - mean) / std in the card's colour order.
Output ``scores``: (batch, C) float32, or ``features``: (batch, F). The metadata have the labels,
mean, std and the rest of what the card says about pictures.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["TF_SET_ONEDNN_FPMATH_MODE"] = ""  # in full float32, unlike training
import msgspec
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
from numpy.typing import NDArray

from edge.config import ModelConfig
from edge.errors import EdgeError, ModelError, boundary
from edge.frames import Frame
from edge.model.card import ModelCard, Preprocessing
from edge.model.engine import Unreadable, read_picture, start
from models import backbones, data, dataset, export, options, trained

INPUT: Final = "image"
OPSET: Final = 13
"""Low, because the TensorRT of an older JetPack reads only older ones; newer ones read it too."""
PICTURES: Final = 200
SHOWN: Final = 10
"""Values of the golden picture that are printed."""
BATCH: Final = 20
TOLERANCE: Final = 1e-4
"""Largest difference allowed between a value of Keras and the same one of onnxruntime."""
ABOUT_PICTURES: Final = ("color", "resize", "central_fraction", "interpolation")


def convert(network: Any, side: int, card: ModelCard) -> bytes:
    """Return the network as ONNX, with metadata. Raises ModelError where it cannot be written."""
    taken = tf.TensorSpec((None, side, side, 3), tf.float32, name=INPUT)
    given = "features" if card.output.activation == "features" else "scores"
    with boundary(ModelError, "the network cannot be written as ONNX", card.name):
        run = tf.function(
            lambda image: {given: network(image, training=False)}, input_signature=[taken]
        )
        model, _ = tf2onnx.convert.from_function(run, [taken], opset=OPSET, inputs_as_nchw=[INPUT])
        for end in (*model.graph.input, *model.graph.output):
            end.type.tensor_type.shape.dim[0].dim_param = "batch"
        onnx.helper.set_model_props(model, properties(card))
        onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def properties(card: ModelCard) -> dict[str, str]:
    """Return the metadata: text as it is, everything else as JSON."""
    tables = msgspec.to_builtins(card)
    how = tables["preprocessing"]
    found = {key: tables.get(key) for key in ("name", "version", "description", "labels")}
    found |= {"background": tables.get("background"), "model_license": card.license}
    found |= {key: how[key] for key in ABOUT_PICTURES} | tables["output"]
    found |= {key: _channels(how[key]).tolist() for key in ("mean", "std")}
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in found.items()
        if value
    }


def inputs(pictures: list[NDArray[np.uint8]], side: int, how: Preprocessing) -> NDArray[np.float32]:
    """Return (H, W, 3) RGB pictures as the network's input, (N, 3, side, side)."""
    pixels = msgspec.structs.replace(how, mean=127.5, std=127.5)  # what shrink calls pixels
    small = np.stack([data.shrink(picture, side, pixels) for picture in pictures])
    real = (small.astype(np.float32) - _channels(how.mean)) / _channels(how.std)
    return np.ascontiguousarray(real.transpose(0, 3, 1, 2))


def _channels(number: float | tuple[float, ...]) -> NDArray[np.float32]:
    return np.broadcast_to(np.asarray(number, np.float32), (3,))


def scores(content: bytes, pictures: NDArray[np.float32], batch: int) -> NDArray[np.float32]:
    """Return what onnxruntime gives for (N, 3, side, side), (N, C) or (N, F)."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    parts = [pictures[i : i + batch] for i in range(0, len(pictures), batch)]
    return np.concatenate([session.run(None, {INPUT: part})[0] for part in parts])


def prove(network: Any, content: bytes, pictures: NDArray[np.float32]) -> float:
    """Return the largest difference of any score from Keras's, one by one and in batches.

    Raises ModelError above TOLERANCE.
    """
    real = network.predict(pictures.transpose(0, 2, 3, 1), batch_size=BATCH, verbose=0)
    worst = max(float(np.abs(scores(content, pictures, n) - real).max()) for n in (1, BATCH))
    if not worst <= TOLERANCE:
        raise ModelError(
            f"onnxruntime differs from Keras on {len(pictures)} pictures",
            expected=f"at most {TOLERANCE:g}",
            got=f"{worst:.2g}",
        )
    return worst


def compare(
    folder: Path, pictures: list[NDArray[np.uint8]], found: NDArray[np.float32]
) -> tuple[int, float]:
    """Compare with the model in ``folder``, as the daemon runs it.

    Returns for how many pictures it says the same label, and the median of the largest difference.
    """
    engine = start(ModelConfig(path=str(folder), require_xnnpack=False))
    rows = np.zeros_like(found)
    for picture, row in zip(pictures, rows, strict=True):
        engine.classify(Frame(0, 0, picture, "rgb"), row)
    same = int((rows.argmax(axis=1) == found.argmax(axis=1)).sum())
    return same, float(np.median(np.abs(rows - found).max(axis=1)))


def golden(folder: Path, card: ModelCard, side: int) -> NDArray[np.float32] | None:
    """Return the golden picture as the network's input, (1, 3, side, side); None without one."""
    if card.golden is None:
        return None
    path = folder / card.golden.picture
    try:
        frame = read_picture(path)
    except Unreadable as exc:
        raise ModelError(f"golden picture cannot be read: {exc}", where=str(path)) from exc
    return inputs([np.ascontiguousarray(frame.pixels[:, :, ::-1])], side, card.preprocessing)


def main() -> None:
    """Convert, prove, write."""
    parser = options.parser(__doc__)
    parser.add_argument("--model", default="catdog", help="a folder in models/, or a path")
    parser.add_argument("--to", type=Path, default=options.ROOT / "build" / "onnx")
    args = parser.parse_args()
    folder, card = trained.find(args.model)
    backbone = trained.MADE_BY.get(folder.name, args.backbone)
    features = card.output.activation == "features"
    how = backbones.BACKBONES[backbone]
    side = args.side or (how.side if features else options.SIDES[backbone])
    if features:
        network = trained.pooled(backbone, args.weights)
        corpus = dataset.load(args.out)
    else:
        file = args.out / f"{args.name or backbone}.keras"
        network, corpus = trained.read(file, card), dataset.load(args.out)
        with boundary(ModelError, "the scores cannot be calibrated", str(file)):
            print(f"{file}: temperature {export.calibrated(network, corpus, how, side):.2f}")
    chosen = corpus.indices("validation")
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(PICTURES, len(chosen))).astype(int)]
    pictures = [np.asarray(corpus.pictures[index]) for index in chosen]
    content = convert(network, side, card)
    tensors = inputs(pictures, side, card.preprocessing)
    worst = prove(network, content, tensors)
    print(f"onnxruntime: {len(pictures)} pictures, nothing differs by more than {worst:.2g}")
    if card.labels:
        same, apart = compare(folder, pictures, scores(content, tensors, BATCH))
        print(f"{folder / card.file}: the same label for {same}, scores {apart:.2g} apart (median)")
    args.to.mkdir(parents=True, exist_ok=True)
    if (tensor := golden(folder, card, side)) is not None:
        (args.to / f"{card.name}.golden.bin").write_bytes(tensor.tobytes())
        values = scores(content, tensor, 1)[0, :SHOWN].round(4)
        print(f"{card.name}.golden.bin: {', '.join(f'{value:g}' for value in values)}")
    result = args.to / f"{card.name}.onnx"
    whole = result.with_suffix(".part")
    whole.write_bytes(content)
    whole.replace(result)
    print(result)


if __name__ == "__main__":
    try:
        main()
    except EdgeError as exc:
        sys.exit(str(exc))
