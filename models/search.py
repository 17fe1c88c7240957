"""Cost and accuracy of other sizes of the network: input side, depth, width.

    python -m models.search [--out build/model] [--epochs 2]

Every point begins with the student's weights, trains on for the same few epochs at its own side
(depth: without some residual blocks), and is measured as the daemon would run it: int8, through the
interpreter, on validation pictures; no test picture is used. The last point is the unchanged
teacher. Writes OUT/points.json, which models.report draws; an interrupted run continues with the
point it was at.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import keras
import numpy as np

from edge.errors import EdgeError, ModelError
from models import (
    augment,
    backbones,
    dataset,
    export,
    network,
    options,
    teacher,
    train,
    variants,
)
from models.batches import Batches
from models.schedule import Stage

STAGE: Final = Stage("search", "stem", 2, 1e-4, 0, augment.WIDE_VIEWS)


@dataclass(frozen=True, slots=True)
class Point:
    """One size of the network.

    dropped  numbers of the residual blocks left out
    """

    side: int
    dropped: tuple[int, ...] = ()
    backbone: str = "mobilenet"

    @property
    def name(self) -> str:
        """Its name in the plot."""
        less = f" less {','.join(map(str, self.dropped))}" if self.dropped else ""
        return f"{self.backbone} @{self.side}{less}"


POINTS: Final = (
    Point(224),
    Point(128),
    Point(160),
    Point(192),
    Point(256),
    Point(224, (15,)),
    Point(224, (12, 15)),
    Point(224, (9, 12, 15)),
    Point(224, backbone=teacher.TEACHER),
)


def without(model: Any, dropped: tuple[int, ...]) -> Any:
    """Return a copy of ``model`` without some residual blocks; the other weights are kept."""

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if not any(layer.name.startswith(f"block_{number}_") for number in dropped):
            return layer(*args, **kwargs)
        return args[0][0] if isinstance(args[0], (list, tuple)) else args[0]

    smaller = keras.models.clone_model(model, call_function=call)
    for layer in (layer for layer in smaller.layers if layer.weights):
        layer.set_weights(model.get_layer(layer.name).get_weights())
    return smaller


def macs(model: Any, side: int) -> int:
    """Return the multiplications of one picture in convolutions and dense layers."""
    fixed = keras.models.clone_model(model, input_tensors=keras.Input((side, side, 3), 1))
    total = 0
    for layer in fixed.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            total += int(np.prod(layer.output.shape) * np.prod(layer.kernel_size))
        elif isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
            total += int(np.prod(layer.output.shape) * np.prod(layer.kernel.shape[:-1]))
    return total


def measure(point: Point, model: Any, corpus: dataset.Dataset, out: Path) -> dict[str, Any]:
    """Return cost and validation accuracy of the int8 model."""
    folder = out / "search" / point.name.replace(" ", "-")
    backbone = backbones.BACKBONES[point.backbone]
    with variants.saved(model, point.side) as saved:
        content = variants.convert(saved, corpus, backbone, point.side, "int8")
    export.write_model(folder, content, corpus, backbone, folder.name)
    held = [corpus.samples[i] for i in corpus.indices("validation")]
    row = variants.measure(folder, {"validation": held}, corpus.background_classes, out)
    figures = row["sets"]["validation"]
    return {
        "name": point.name,
        "shipped": point == POINTS[0],
        "macs": macs(model, point.side),
        "bytes": row["bytes"],
        "invoke_ms": row["invoke_ms"],
        "accuracy": figures["accuracy"],
        "auc": figures["auc"],
        "images": figures["images"],
    }


def main() -> None:
    """Measure every point that has not been measured."""
    parser = options.parser(__doc__)
    parser.add_argument("--epochs", type=int, default=STAGE.epochs, help="for each point")
    parser.add_argument("--distil", type=float, default=0.7, help="the teacher's share, 0 to 1")
    args = options.parse(parser)
    trained = args.out / f"{args.name}.keras"
    if not trained.is_file():
        raise ModelError("no trained network", where=str(trained), hint="run models.train first")
    corpus = dataset.load(args.out)
    lessons = train.targets(corpus, args)
    file = args.out / "points.json"
    rows = json.loads(file.read_text()) if file.is_file() else []
    for point in POINTS[:: len(POINTS) - 1] if args.quick else POINTS:
        if any(row["name"] == point.name for row in rows):
            continue
        if point.backbone == teacher.TEACHER:
            model = keras.models.load_model(args.out / "teacher.keras", compile=False)
        else:
            student = keras.models.load_model(trained, compile=False)
            model = without(student, point.dropped)
            stage = replace(STAGE, side=point.side, epochs=1 if args.quick else args.epochs)
            backbone = backbones.BACKBONES[point.backbone]
            batches = Batches(corpus, stage, backbone, lessons, args.seed)
            network.unfreeze(model, stage.first)
            train.compile_model(model, stage.rate, stage.epochs * len(batches))
            model.fit(batches, epochs=stage.epochs, verbose=2)
        rows.append(measure(point, model, corpus, args.out))
        print(json.dumps(rows[-1]), flush=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(rows, indent=1))
        part.replace(file)


if __name__ == "__main__":
    try:
        main()
    except EdgeError as exc:
        sys.exit(str(exc))
