"""Cost and accuracy of other sizes of the network: input side, depth, width.

    python -m models.search [--out build/model] [--name student] [--epochs 2]

Every point begins with the student's weights, trains on for the same few epochs at its own side
(depth: without some residual blocks), and is measured as the daemon would run it: int8, through the
interpreter, on validation pictures; no test picture is used. The width 1.0 is the unchanged
teacher. Writes OUT/points.json, which models.report draws; an interrupted run continues with the
point it was at.
"""

from __future__ import annotations

import argparse
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
from models import dataset, export, network, options, train, variants
from models.batches import Batches, Stage

STAGE: Final = Stage("search", "Conv1", 2, 1e-4, 0, whole=True)


@dataclass(frozen=True, slots=True)
class Point:
    """One size of the network.

    dropped  numbers of the residual blocks left out
    """

    side: int
    dropped: tuple[int, ...] = ()
    width: float = 0.35

    @property
    def name(self) -> str:
        """Its name in the plot."""
        less = f" less {','.join(map(str, self.dropped))}" if self.dropped else ""
        return f"{self.width:g} @{self.side}{less}"


POINTS: Final = (
    Point(224),
    Point(128),
    Point(160),
    Point(192),
    Point(256),
    Point(224, (15,)),
    Point(224, (12, 15)),
    Point(224, (9, 12, 15)),
    Point(192, width=1.0),
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


def linear_teacher(args: argparse.Namespace, labels_total: int) -> Any:
    """Return the teacher as one network: frozen features and the final regression."""
    body = network.base(1.0, args.teacher)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(body.output)
    with np.load(args.out / "teacher.npz") as arrays:
        weights = (arrays["coef"] / arrays["scale"]).T
        bias = arrays["intercept"] - arrays["mean"] @ weights
    activation = "sigmoid" if labels_total == 2 else "softmax"
    dense = keras.layers.Dense(len(bias), activation=activation, name="scores")
    model = keras.Model(body.input, dense(x))
    dense.set_weights([weights, bias])
    return model


def measure(point: Point, model: Any, corpus: dataset.Dataset, out: Path) -> dict[str, Any]:
    """Return cost and validation accuracy of the int8 model."""
    folder = out / "search" / point.name.replace(" ", "-")
    export.write_model(folder, variants.convert(model, out, point.side, "int8"), corpus)
    held = [corpus.samples[i] for i in corpus.indices("validation")]
    row = variants.measure(folder, {"validation": held})
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
    parser.add_argument("--name", default="student", help="the trained network to begin with")
    parser.add_argument("--epochs", type=int, default=STAGE.epochs, help="for each point")
    parser.add_argument("--distil", type=float, default=0.7, help="the teacher's share, 0 to 1")
    args = parser.parse_args()
    trained = args.out / f"{args.name}.keras"
    if not trained.is_file():
        raise ModelError("no trained network", where=str(trained), hint="run models.train first")
    corpus = dataset.load(args.out)
    targets = train.targets(corpus, args)
    file = args.out / "points.json"
    rows = json.loads(file.read_text()) if file.is_file() else []
    for point in POINTS[:: len(POINTS) - 1] if args.quick else POINTS:
        if any(row["name"] == point.name for row in rows):
            continue
        if point.width == 1.0:
            model = linear_teacher(args, len(corpus.labels))
        else:
            student = keras.models.load_model(trained, compile=False)
            model = without(student, point.dropped)
            stage = replace(STAGE, side=point.side, epochs=1 if args.quick else args.epochs)
            batches = Batches(corpus, stage, *targets, args.seed)
            network.unfreeze(model, stage.first)
            train.compile_model(model, len(corpus.labels), stage.rate, stage.epochs * len(batches))
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
