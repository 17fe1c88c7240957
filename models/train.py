"""Train the student: from the head down, with a falling rate, on labels and the teacher's logits.

    python -m models.train [--backbone mobilenet] [--out build/model] [--distil 0.7]

Reads the files of models.dataset and models.teacher. Writes OUT/NAME.keras (the epoch with the
lowest validation loss of the last stage), OUT/NAME.csv and OUT/NAME.png (the run, drawn). An
interrupted run continues with the epoch it was in.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_SET_ONEDNN_FPMATH_MODE", "BF16")  # where the processor has it: faster
import keras
import numpy as np
from numpy.typing import NDArray

from edge.errors import ConfigError, EdgeError
from models import augment, backbones, data, dataset, head, network, options, weights
from models.batches import Batches, Lessons
from models.schedule import SCHEDULES, Stage

WARM_UP_STEPS: Final = 100
PATIENCE: Final = 8
"""Epochs without a lower validation loss after which a stage ends."""


Weights = dict[str, list[NDArray[np.float32]]]
"""Layer -> its arrays."""


def train(args: argparse.Namespace) -> Path:
    """Run every stage that is not done yet; return the file of the trained network."""
    corpus = dataset.load(args.out)
    result: Path = args.out / f"{args.name}.keras"
    if result.is_file():
        print(f"{result} exists already; remove it to train again")
        return result
    lessons = targets(corpus, args)
    work: Path = args.out / f"{args.name}-stages"
    work.mkdir(exist_ok=True)
    backbone = backbones.BACKBONES[args.backbone]
    schedule = SCHEDULES[args.backbone]
    imagenet = weights.of(args.backbone, args.weights)
    learnt: list[Weights] = []
    for stages in schedule.runs[:1] if args.quick else schedule.runs:
        keras.utils.set_random_seed(args.seed)
        model = network.build(len(corpus.labels), backbone, imagenet, args.seed)
        published = body(model)
        for stage in stages[:: len(stages) - 1] if args.quick else stages:
            if args.quick:
                stage = replace(stage, side=args.side, epochs=1)
            stage = replace(stage, side=stage.side or args.side)
            done = work / f"{stage.name}.keras"
            if not done.is_file():
                print(f"{stage}", flush=True)
                blend(model, published, [body(model)], stage.keep)
                fit(model, stage, corpus, backbone, lessons, args.seed, work)
                model.load_weights(work / "best.keras")
                (work / "best.keras").replace(done)
            model.load_weights(done)
        learnt.append(body(model))
    blend(model, published, learnt, schedule.keep)
    if schedule.refit:
        print(f"head: C {head.refit(model, corpus, backbone, args.side):g}")
    finished = work / "finished.keras"
    model.save(finished)
    finished.replace(result)
    draw(work / "log.csv", result.with_suffix(".png"))
    (work / "log.csv").replace(result.with_suffix(".csv"))
    shutil.rmtree(work)
    return result


def body(model: Any) -> Weights:
    """Return the weights of the backbone, copied."""
    layers = (layer for layer in model.layers if layer.weights and layer.name != "scores")
    return {layer.name: layer.get_weights() for layer in layers}


def blend(model: Any, published: Weights, learnt: Sequence[Weights], keep: float) -> None:
    """Give the body the mean of what was ``learnt``, and 1 - ``keep`` of what was ``published``."""
    if keep == 1 and len(learnt) == 1:
        return
    for name, old in published.items():
        means = (np.mean([run[name][place] for run in learnt], axis=0) for place in range(len(old)))
        values = [keep * mean + (1 - keep) * array for mean, array in zip(means, old, strict=True)]
        model.get_layer(name).set_weights(values)


def fit(
    model: Any,
    stage: Stage,
    corpus: dataset.Dataset,
    backbone: backbones.Backbone,
    lessons: Lessons,
    seed: int,
    work: Path,
) -> None:
    """Train one stage; WORK/best.keras is its best epoch, WORK/log.csv grows."""
    network.unfreeze(model, stage.first)
    batches = Batches(corpus, stage, backbone, lessons, seed)
    learner = keras.Model(model.input, model.output)  # one of its own: a model that was resumed
    # keeps the epoch at which it was, also for the next stage
    compile_model(learner, stage.rate, stage.epochs * len(batches))
    held, best = validation(corpus, backbone, stage.side), work / "best.keras"
    lowest = None
    if best.is_file():  # of an interrupted run: only a better epoch may replace it
        learner.load_weights(best)
        pictures, truth, often = held
        lowest = learner.evaluate(pictures, truth, sample_weight=often, verbose=0)[0]
    learner.fit(
        batches,
        epochs=stage.epochs,
        validation_data=held,
        verbose=1 if sys.stdout.isatty() else 2,
        callbacks=[
            keras.callbacks.ModelCheckpoint(
                best, monitor="val_loss", save_best_only=True, initial_value_threshold=lowest
            ),
            keras.callbacks.EarlyStopping("val_loss", patience=PATIENCE),
            keras.callbacks.BackupAndRestore(work / "resume"),
            keras.callbacks.CSVLogger(work / "log.csv", append=True),
        ],
    )


def validation(
    corpus: dataset.Dataset, backbone: backbones.Backbone, side: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Return the validation pictures, whole, (n, side, side, 3), their targets and weights.

    Sources weigh as in training.
    """
    indices = corpus.indices("validation")
    pixels = np.stack([data.shrink(corpus.pictures[i], side, corpus.how) for i in indices])
    hard = np.eye(len(corpus.labels), dtype=np.float32)[corpus.classes[indices]]
    often = data.mix([corpus.samples[i] for i in indices])
    return data.to_input(pixels, backbone.mean, backbone.std), hard, often


def compile_model(model: Any, rate: float, steps: int) -> None:
    """Give the model its loss, and an Adam whose rate rises briefly, then falls to 0."""
    warm = min(WARM_UP_STEPS, steps // 4)
    falling = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm), warmup_target=rate, warmup_steps=warm
    )
    loss = keras.losses.CategoricalCrossentropy()
    model.compile(keras.optimizers.Adam(falling, clipnorm=1.0), loss, weighted_metrics=[accuracy])
    model.optimizer.build(model.trainable_variables)  # or TensorFlow traces every step twice


@keras.saving.register_keras_serializable("edge")  # type: ignore[untyped-decorator]
def accuracy(targets: Any, scores: Any) -> Any:
    """Return whether scores and targets, which may be soft, have the same class; (N,)."""
    right = keras.ops.equal(keras.ops.argmax(targets, -1), keras.ops.argmax(scores, -1))
    return keras.ops.cast(right, "float32")


def draw(log: Path, to: Path) -> None:
    """Draw loss and accuracy by epoch."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, key in zip(axes, ("loss", "accuracy"), strict=True):
        for name in (key, f"val_{key}"):
            axis.plot(range(1, len(rows) + 1), [float(row[name]) for row in rows], label=name)
        axis.set_xlabel("epoch, all stages")
        axis.legend()
    figure.savefig(to, dpi=80)
    pyplot.close(figure)


def targets(corpus: dataset.Dataset, args: argparse.Namespace) -> Lessons:
    """Return what the pictures teach: with a teacher, its views, and its share of the targets."""
    classes = corpus.classes[corpus.indices("train")]
    labels_total = len(corpus.labels)
    labels = data.smoothed(classes, labels_total)
    if args.distil == 0:
        views = np.arange(augment.VIEWS)
        return Lessons(views, np.repeat(labels[:, None], len(views), 1), labels, None)
    try:
        with np.load(args.out / "teacher.npz") as arrays:
            views, logits = np.asarray(arrays["views"]), np.asarray(arrays["logits"])
            packed, shape = np.asarray(arrays["cutouts"]), tuple(arrays["shape"])
    except FileNotFoundError as exc:
        raise ConfigError(
            "no teacher", where=str(exc.filename), hint="run python -m models.teacher first"
        ) from None
    cutouts = np.unpackbits(packed, axis=1, count=shape[1] * shape[2]).reshape(shape)
    soft = data.soft_targets(labels, logits, args.distil)
    return Lessons(views, soft, labels, cutouts.astype(np.bool_))


if __name__ == "__main__":
    parser = options.parser(__doc__)
    parser.add_argument("--distil", type=float, default=0.7, help="the teacher's share, 0 to 1")
    try:
        print(train(options.parse(parser)))
    except EdgeError as exc:
        sys.exit(str(exc))
