"""The teacher: a larger network's logits for every view of every training picture.

    python -m models.teacher [--out build/model] [--teacher FILE.npz]

A frozen EfficientNet-Lite2 gives features; a logistic regression on them gives logits.
The logits of a picture come from a regression fitted without it (five folds), so that the teacher
corrects wrong labels rather than memorises them.

Writes OUT/teacher.npz: views (V,), logits (N, V, C), and its accuracy on the validation pictures.
An interrupted run continues with the view it was at.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_SET_ONEDNN_FPMATH_MODE", "BF16")  # where the processor has it: faster
import keras
import tensorflow as tf

from edge.errors import EdgeError
from models import augment, backbones, data, dataset, options, weights

TEACHER: Final = "lite2"
JUDGED: Final = augment.VIEWS - 1
"""Views that it judges; each costs minutes."""
BATCH: Final = 64
FOLDS: Final = 5
STRENGTHS: Final = (1e-4, 1e-3, 1e-2)
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
    views = (0, augment.WIDE_VIEWS) if args.quick else tuple(range(JUDGED))
    features = Features(corpus, args, key)
    whole = features.of("validation", validation, None)
    inputs = np.stack([features.of(f"view-{v}", train, v) for v in views], axis=1)
    inputs = inputs.astype(np.float32)
    scaler = StandardScaler().fit(inputs[:, 0])
    classes = corpus.classes
    often = data.mix([corpus.samples[i] for i in train])
    judged = scaler.transform(whole.astype(np.float32))

    def fit(rows: NDArray[np.int64], strength: float) -> Any:
        x = scaler.transform(inputs[rows].reshape(-1, inputs.shape[2]))
        model = LogisticRegression(C=strength, max_iter=100)
        return model.fit(
            x, np.repeat(classes[train[rows]], len(views)), np.repeat(often[rows], len(views))
        )

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=args.seed)
    parts = list(folds.split(train, classes[train]))

    def loss(strength: float) -> float:
        model = fit(parts[0][0], strength)
        return float(
            log_loss(classes[validation], model.predict_proba(judged), labels=model.classes_)
        )

    strength = min(STRENGTHS, key=loss)
    logits = np.empty((len(train), len(views), len(corpus.labels)), np.float32)
    for others, mine in track(parts, "teacher's folds", disable=not sys.stderr.isatty()):
        x = scaler.transform(inputs[mine].reshape(-1, inputs.shape[2]))
        judged_views = fit(others, strength).predict_log_proba(x)
        logits[mine] = judged_views.reshape(len(mine), len(views), -1)
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
        self._backbone = backbones.BACKBONES[TEACHER]
        body = backbones.build(self._backbone, weights.of(TEACHER, args.teacher))
        pooled = keras.Model(body.input, keras.layers.GlobalAveragePooling2D()(body.output))
        self._views = augment.Views(corpus, self._backbone.side, args.seed)
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
        with ThreadPoolExecutor(1) as pool:  # makes a batch while the network runs the one before
            coming = pool.submit(self._batch, indices[:BATCH], view)
            for start in track(starts, f"teacher: {name}", disable=not sys.stderr.isatty()):
                batch = coming.result()
                coming = pool.submit(self._batch, indices[start + BATCH :][:BATCH], view)
                features.append(np.asarray(self._run(tf.constant(batch)).numpy(), np.float16))
        result = np.concatenate(features)[: len(indices)]
        whole = file.with_suffix(".part.npz")
        np.savez(whole, features=result, key=self._key)
        whole.replace(file)
        return result

    def _batch(self, indices: NDArray[np.int64], view: int | None) -> NDArray[np.float32]:
        """Return BATCH pictures as the network's real input; zeros where there are fewer."""
        side = self._backbone.side
        pictures = np.zeros((BATCH, side, side, 3), np.uint8)
        for row, index in enumerate(indices):
            pictures[row] = (
                data.shrink(self._corpus.pictures[index], side, self._corpus.how)
                if view is None
                else self._views.geometry(int(index), view)
            )
        return data.to_input(pictures, self._backbone.mean, self._backbone.std)


if __name__ == "__main__":
    try:
        judge(options.parse(options.parser(__doc__)))
    except EdgeError as exc:
        sys.exit(str(exc))
