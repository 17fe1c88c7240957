"""Train: first the head on the frozen network, then everything with a falling rate.

    python -m models.train [--data DIR] [--weights FILE.npz] [--out build/model]

Reads DIR/train/<class>/*; writes OUT/split.csv, OUT/log.csv and OUT/best.keras, the epoch with
the best validation loss. An interrupted run goes on at the epoch it was in.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from models import data, network, options

BATCH: Final = 64
LABEL_SMOOTHING: Final = 0.05
WARM_UP_STEPS: Final = 150


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # keras is untyped
    """Augmented batches of the stored pictures, another order and other views every epoch."""

    def __init__(
        self, pixels: NDArray[np.uint8], labels: NDArray[np.float32], seed: int, classes: int
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=4)
        self._pixels, self._seed, self._epoch = pixels, seed, 0
        self._targets = labels[:, None] if classes == 2 else np.eye(classes)[labels.astype(int)]
        self.on_epoch_end()

    def __len__(self) -> int:
        """Return the batches in an epoch."""
        return -(-len(self._pixels) // BATCH)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return batch ``index``: pictures (B, SIDE, SIDE, 3) in -1 to 1, and targets."""
        chosen = self._order[index * BATCH : (index + 1) * BATCH]
        random = np.random.default_rng((self._seed, self._epoch, index))
        views = [data.augment(self._pixels[i], network.SIDE, random) for i in chosen]
        return data.to_input(np.stack(views)), self._targets[chosen].astype(np.float32)

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch."""
        self._epoch += 1
        self._order = np.random.default_rng((self._seed, self._epoch)).permutation(
            len(self._pixels)
        )


def train(args: argparse.Namespace) -> Path:
    """Run both stages; return the file of the best model."""
    labels, samples = data.scan(args.data / "train")
    parts = data.split(samples, args.held_out, args.validation, args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "split.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        for part in ("train", "validation", "held_out"):
            writer.writerows((part, s.label, s.path) for s in getattr(parts, part))
    print(f"{len(parts.train)} train, {len(parts.validation)} validation; loading", flush=True)
    chosen = parts.train[:: max(1, len(parts.train) // args.limit)] if args.limit else parts.train
    batches = Batches(*data.load(chosen), args.seed, len(labels))
    held_pixels, held_labels = data.load(parts.validation)
    small = data.shrink(held_pixels, network.SIDE)
    targets = (
        held_labels[:, None] if len(labels) == 2 else np.eye(len(labels))[held_labels.astype(int)]
    )
    validation = (data.to_input(small), targets.astype(np.float32))

    keras.utils.set_random_seed(args.seed)
    model, base = network.build(len(labels), args.weights, args.seed)
    best: Path = args.out / "best.keras"
    keep = keras.callbacks.ModelCheckpoint(best, monitor="val_loss", save_best_only=True)
    for stage, epochs, rate in (("head", args.head_epochs, 1e-3), ("all", args.epochs, args.rate)):
        base.trainable = stage == "all"
        for layer in base.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
        compile_model(model, len(labels), rate, steps=epochs * len(batches))
        model.fit(
            batches,
            epochs=epochs,
            validation_data=validation,
            verbose=1 if sys.stdout.isatty() else 2,
            callbacks=[
                keras.callbacks.BackupAndRestore(args.out / f"resume-{stage}"),
                keras.callbacks.CSVLogger(args.out / "log.csv", append=True),
                keep,
            ],
        )
    return best


def compile_model(model: Any, classes: int, rate: float, steps: int) -> None:
    """Give the model its loss and an Adam whose rate rises briefly, then falls to nothing.

    With BatchNorm frozen a first rate of 5e-4 without warm-up undid the pretrained features:
    validation accuracy fell from 93 % to 69 % in one epoch.
    """
    smoothing = {"label_smoothing": LABEL_SMOOTHING}
    loss = (
        keras.losses.BinaryCrossentropy(**smoothing)
        if classes == 2
        else keras.losses.CategoricalCrossentropy(**smoothing)
    )
    warm = min(WARM_UP_STEPS, steps // 4)
    falling = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warm, warmup_target=rate, warmup_steps=warm
    )
    model.compile(keras.optimizers.Adam(falling, clipnorm=1.0), loss, metrics=["accuracy"])


def arguments() -> argparse.ArgumentParser:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_places(parser)
    given = options.WEIGHTS if options.WEIGHTS.exists() else None
    parser.add_argument("--weights", type=Path, default=given, help=".npz; else Keras fetches")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--held-out", type=int, default=2000, help="pictures never trained on")
    parser.add_argument("--validation", type=int, default=600, help="pictures to choose by")
    parser.add_argument("--head-epochs", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--rate", type=float, default=1.5e-4, help="highest learning rate")
    parser.add_argument("--limit", type=int, default=0, help="train on so many pictures only")
    return parser


if __name__ == "__main__":
    try:
        print(train(arguments().parse_args()))
    except EdgeError as exc:
        sys.exit(str(exc))
