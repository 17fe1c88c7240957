"""Prune a trained network: zero its smallest weights, train the rest, measure the gain.

    python -m models.prune [--backbone mobilenet] [--out build/model]

Reads OUT/NAME.keras. From 30 to 70 % of the weights of every pointwise convolution and of the head
become zero, along a cubic, while training goes on; then the zeros stay and the network settles.
Writes OUT/pruned.keras, and OUT/pruned.json with size, speed and accuracy of the dense and of the
sparse encoding beside those of the network it came from. The shipped model is not pruned.
Source: Zhu, Gupta 2017, "To prune, or not to prune".
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import keras
import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError, ModelError
from models import augment, backbones, dataset, export, network, options, train, variants
from models.batches import Batches
from models.judge import find_sets
from models.schedule import Stage

FROM: Final = 0.3
TO: Final = 0.7
EVERY: Final = 50
"""Steps between two choices of the zeros."""
RAMP: Final = 0.6
"""Share of the steps in which the zeros grow; in the rest the network settles."""
KINDS: Final[tuple[variants.Kind, ...]] = ("float32", "sparse", "int8")
STAGE: Final = Stage("prune", "stem", 4, 1e-4, 0, augment.WIDE_VIEWS)


def sparsity(progress: float) -> float:
    """Return the share of zeros when ``progress``, 0 to 1, of the ramp is done."""
    left = 1 - min(1.0, max(0.0, progress))
    return TO + (FROM - TO) * left**3


def mask(kernel: NDArray[np.float32], share: float) -> NDArray[np.bool_]:
    """Return which weights stay: all but the ``share`` of them nearest to zero."""
    zeros = round(share * kernel.size)
    order = np.abs(kernel).ravel().argsort(kind="stable")
    stays = np.ones(kernel.size, bool)
    stays[order[:zeros]] = False
    return stays.reshape(kernel.shape)


def prunable(model: Any) -> list[Any]:
    """Return the kernels that are pruned: of 1 x 1 convolutions and of the head."""
    kernels = []
    for layer in model.layers:
        pointwise = isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (1, 1)
        if pointwise or layer.name == "scores":
            kernels.append(layer.kernel)
    return kernels


class Pruning(keras.callbacks.Callback):  # type: ignore[misc]  # keras is untyped
    """Keeps the smallest weights at zero, more of them with every choice."""

    def __init__(self, kernels: list[Any], steps: int) -> None:
        super().__init__()
        self._kernels, self._ramp = kernels, int(steps * RAMP)
        self._step = 0
        self._masks: list[NDArray[np.bool_]] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Choose again every EVERY steps of the ramp, and at its end; then keep the zeros."""
        if (self._step % EVERY == 0 and self._step <= self._ramp) or self._step == self._ramp:
            share = sparsity(self._step / self._ramp if self._ramp else 1.0)
            self._masks = [mask(np.asarray(kernel), share) for kernel in self._kernels]
        for kernel, stays in zip(self._kernels, self._masks, strict=True):
            kernel.assign(kernel * stays)
        self._step += 1


def fine_tune(model: Any, corpus: dataset.Dataset, args: argparse.Namespace) -> None:
    """Prune ``model`` while it trains on the student's targets."""
    stage = replace(STAGE, side=args.side, epochs=1 if args.quick else STAGE.epochs)
    backbone = backbones.BACKBONES[args.backbone]
    batches = Batches(corpus, stage, backbone, train.targets(corpus, args), args.seed)
    steps = stage.epochs * len(batches)
    network.unfreeze(model, stage.first)
    train.compile_model(model, stage.rate, steps)
    model.fit(
        batches,
        epochs=stage.epochs,
        validation_data=train.validation(corpus, backbone, stage.side),
        verbose=1 if sys.stdout.isatty() else 2,
        callbacks=[Pruning(prunable(model), steps)],
    )


def main() -> None:
    """Prune, export dense and sparse, measure."""
    parser = options.parser(__doc__)
    parser.add_argument("--distil", type=float, default=0.7, help="the teacher's share, 0 to 1")
    args = options.parse(parser)
    trained = args.out / f"{args.name}.keras"
    if not trained.is_file():
        raise ModelError("no trained network", where=str(trained), hint="run models.train first")
    model = keras.models.load_model(trained, compile=False)
    corpus, backbone = dataset.load(args.out), backbones.BACKBONES[args.backbone]
    pruned: Path = args.out / "pruned.keras"
    if not pruned.is_file():
        fine_tune(model, corpus, args)
        part = pruned.with_suffix(".part.keras")
        model.save(part)
        part.replace(pruned)
    sets = find_sets(args.data, args.out)
    table = {}
    for name, file in (("trained", trained), ("pruned", pruned)):
        model = keras.models.load_model(file, compile=False)
        with variants.saved(model, args.side) as saved:
            for kind in KINDS:
                folder = args.out / "pruning" / f"{name}-{kind}"
                content = variants.convert(saved, corpus, backbone, args.side, kind)
                export.write_model(folder, content, corpus, backbone, folder.name)
                row = variants.measure(folder, sets, corpus.background_classes, args.out)
                table[f"{name} {kind}"] = row
                print(name, kind, json.dumps(row), flush=True)
    (args.out / "pruned.json").write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    try:
        main()
    except EdgeError as exc:
        sys.exit(str(exc))
