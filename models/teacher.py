"""The teacher: a larger network's logits for every view of every training picture.

    python -m models.teacher [--out build/model] [--teacher FILE.npz]

A frozen MobileNetV2 of width 1.0 gives features; a logistic regression on them gives logits.
The logits of a picture come from a regression fitted without it (five folds), so that the teacher
corrects wrong labels rather than memorises them.

Writes OUT/teacher.npz: views (V,), logits (N, V, K), K = 1 for two classes, and its accuracy on
the validation pictures. An interrupted run continues with the view it was at.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import keras
import tensorflow as tf

from edge.errors import EdgeError
from models import augment, data, dataset, network, options

SIDE: Final = 192
"""The teacher's input, pixels; at 224 it costs 50 % more."""
BATCH: Final = 64
FOLDS: Final = 5
STRENGTHS: Final = (1e-4, 3e-4, 1e-3, 3e-3)
"""Inverse of the regression's L2 penalty; the one with the lowest validation loss is used."""


def judge(args: argparse.Namespace) -> Path:
    """Write the teacher's logits; return their file."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedKFold
    from sklearn.preprocessing import StandardScaler

    out: Path = args.out
    done = out / "teacher.npz"
    corpus = dataset.load(out)
    key = f"{(out / 'dataset.json').stat().st_mtime_ns} {args.teacher} {args.seed}"
    if done.is_file():
        with np.load(done) as arrays:
            if str(arrays["key"]) == key:
                return done
    train, validation = corpus.indices("train"), corpus.indices("validation")
    views = (0, augment.WIDE_VIEWS) if args.quick else tuple(range(augment.VIEWS))
    features = Features(corpus, args, key)
    whole = features.of("validation", validation, None)
    inputs = np.stack([features.of(f"view-{v}", train, v) for v in views], axis=1)
    scaler = StandardScaler().fit(inputs[:, 0])
    classes = corpus.classes
    judged = scaler.transform(whole)

    def fit(rows: NDArray[np.int64], strength: float) -> Any:
        x = scaler.transform(inputs[rows].reshape(-1, inputs.shape[2]))
        return LogisticRegression(C=strength, max_iter=200).fit(
            x, np.repeat(classes[train[rows]], len(views))
        )

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=args.seed)
    parts = list(folds.split(train, classes[train]))

    def loss(strength: float) -> float:
        model = fit(parts[0][0], strength)
        return float(
            log_loss(classes[validation], model.predict_proba(judged), labels=model.classes_)
        )

    strength = min(STRENGTHS, key=loss)
    outputs = 1 if len(corpus.labels) == 2 else len(corpus.labels)
    logits = np.empty((len(train), len(views), outputs), np.float32)
    for others, mine in track(parts, "teacher's folds", disable=not sys.stderr.isatty()):
        x = scaler.transform(inputs[mine].reshape(-1, inputs.shape[2]))
        logits[mine] = fit(others, strength).decision_function(x).reshape(len(mine), -1, outputs)
    final = fit(np.arange(len(train)), strength)
    accuracy = float((final.predict(judged) == classes[validation]).mean())
    print(
        f"teacher: C {strength:g}, {100 * accuracy:.2f} % of {len(validation)} validation pictures"
    )
    whole_file = done.with_suffix(".part.npz")
    np.savez(
        whole_file,
        views=views,
        logits=logits,
        key=key,
        validation=accuracy,
        mean=scaler.mean_,
        scale=scaler.scale_,
        coef=final.coef_,
        intercept=final.intercept_,
    )
    whole_file.replace(done)
    for file in out.glob("features-*.npz"):
        file.unlink()
    return done


class Features:
    """The teacher's pooled features, kept on disk so that none are computed twice."""

    def __init__(self, corpus: dataset.Dataset, args: argparse.Namespace, key: str) -> None:
        self._corpus, self._out, self._key = corpus, args.out, key
        body = network.base(1.0, args.teacher)
        pooled = keras.Model(body.input, keras.layers.GlobalAveragePooling2D()(body.output))
        self._views = augment.Views(SIDE, args.seed, corpus.how.central_fraction)
        self._run = tf.function(lambda x: pooled(x, training=False))

    def of(self, name: str, indices: NDArray[np.int64], view: int | None) -> NDArray[np.float16]:
        """Return the features of one view of the pictures, (n, 1280); of the whole for None."""
        file = self._out / f"features-{name}.npz"
        if file.is_file():
            with np.load(file) as arrays:
                if str(arrays["key"]) == self._key:
                    return np.asarray(arrays["features"])
        features = []
        starts = range(0, len(indices), BATCH)
        for start in track(starts, f"teacher: {name}", disable=not sys.stderr.isatty()):
            features.append(self._batch(indices[start : start + BATCH], view))
        result = np.concatenate(features)
        whole = file.with_suffix(".part.npz")
        np.savez(whole, features=result, key=self._key)
        whole.replace(file)
        return result

    def _batch(self, indices: NDArray[np.int64], view: int | None) -> NDArray[np.float16]:
        pictures = np.zeros((BATCH, SIDE, SIDE, 3), np.uint8)
        for row, index in enumerate(indices):
            picture = self._corpus.pictures[index]
            pictures[row] = (
                data.shrink(picture, SIDE, self._corpus.how)
                if view is None
                else self._views.geometry(picture, int(index), view)
            )
        x = tf.constant(data.to_input(pictures))
        return np.asarray(self._run(x).numpy()[: len(indices)], np.float16)


if __name__ == "__main__":
    try:
        judge(options.parser(__doc__).parse_args())
    except EdgeError as exc:
        sys.exit(str(exc))
