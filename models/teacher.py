"""The teacher: a larger network's logits for views of every training picture, and its subject.

    python -m models.teacher [--out build/model] [--teacher FILE.npz]

EfficientNet-Lite2 is trained on the labels (models.train), then it judges. It also says where in
a picture the subject is, so that the student sees it in other scenes.

Writes OUT/teacher.keras, and OUT/teacher.npz: views (V,), logits (N, V, C), cutouts (N, M * M / 8),
packed bits of (N, M, M). An interrupted run continues with the epoch or the view it was at.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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
from models import augment, backbones, cutouts, data, dataset, options, train

TEACHER: Final = "lite2"
JUDGED: Final = augment.VIEWS - 1
"""Views that it judges; each costs minutes."""
BATCH: Final = 64
MAP_SIDE: Final = 288
"""Input size for the map of places, pixels: a finer map than at the size of training."""

Picture = NDArray[np.uint8]


def judge(args: argparse.Namespace) -> Path:
    """Train the teacher and write its judgement; return the file."""
    out: Path = args.out
    corpus = dataset.load(out)
    lesson = argparse.Namespace(**vars(args) | {"backbone": TEACHER, "name": "teacher"})
    lesson.weights, lesson.distil = args.teacher, 0
    trained = train.train(lesson)
    done = out / "teacher.npz"
    if done.is_file() and done.stat().st_mtime_ns > trained.stat().st_mtime_ns:
        return done
    views = (0, augment.WIDE_VIEWS) if args.quick else tuple(range(JUDGED))
    step = Steps(keras.models.load_model(trained, compile=False), corpus, args)
    logits = np.stack([step.kept(f"view-{v}", partial(step.logits, v)) for v in views], axis=1)
    masks = step.kept("cutouts", step.cutouts)
    part = done.with_suffix(".part.npz")
    shape = (len(masks), cutouts.SIDE, cutouts.SIDE)
    np.savez_compressed(part, views=views, logits=logits, cutouts=masks, shape=shape)
    part.replace(done)
    for file in out.glob("teacher-*.npy"):
        file.unlink()
    return done


class Steps:
    """Parts of the judgement; each is kept on disk, so that none is computed twice."""

    def __init__(self, model: Any, corpus: dataset.Dataset, args: argparse.Namespace) -> None:
        self._corpus, self._out, self._side = corpus, args.out, args.side
        self._backbone = backbones.BACKBONES[TEACHER]
        self._train = corpus.indices("train")
        self._views = augment.Views(corpus, args.side, args.seed)
        top = model.get_layer("pool").input
        self._places = keras.Model(model.input, top)
        self._kernel, self._bias = model.get_layer("scores").get_weights()

    def kept(self, name: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return the array of an earlier run, or make it and keep it."""
        file = self._out / f"teacher-{name}.npy"
        if file.is_file():
            return np.asarray(np.load(file))
        result = make()
        part = file.with_suffix(".part")
        with part.open("wb") as to:
            np.save(to, result)
        part.replace(file)
        return result

    def logits(self, view: int) -> NDArray[np.float32]:
        """Return the logits of one view of every training picture, (N, C)."""
        found = self._each(
            self._train,
            self._side,
            lambda index: self._views.geometry(index, view),
            lambda index, places: places.mean((0, 1)),
            f"teacher: view {view}",
        )
        return np.stack(found).astype(np.float32)

    def cutouts(self) -> NDArray[np.uint8]:
        """Return where the subject of every training picture is, packed; nothing of background."""
        pictures, classes = self._corpus.pictures, self._corpus.classes
        background = self._corpus.background_classes
        result = np.zeros((len(self._train), cutouts.SIDE, cutouts.SIDE), np.bool_)
        rows = np.flatnonzero(~np.isin(classes[self._train], background))
        if background:
            others = list(background)

            def cut(index: int, places: NDArray[np.float32]) -> NDArray[np.bool_]:
                subject = places[..., classes[index]] - places[..., others].max(-1)
                return cutouts.cutout(np.asarray(pictures[index]), subject)

            result[rows] = self._each(
                self._train[rows],
                MAP_SIDE,
                lambda index: data.stretch(pictures[index], MAP_SIDE),
                cut,
                "teacher: subjects",
            )
        return np.packbits(result.reshape(len(result), -1), axis=1)

    def _each(
        self,
        indices: NDArray[np.int64],
        side: int,
        view: Callable[[int], Picture],
        use: Callable[[int, NDArray[np.float32]], Any],
        name: str,
    ) -> list[Any]:
        """Return what ``use`` makes of every picture's map of logits (h, w, C)."""
        run = tf.function(lambda x: self._places(x, training=False) @ self._kernel + self._bias)

        def batch(start: int) -> NDArray[np.float32]:
            pictures = np.zeros((BATCH, side, side, 3), np.uint8)
            for row, index in enumerate(indices[start : start + BATCH]):
                pictures[row] = view(int(index))
            return data.to_input(pictures, self._backbone.mean, self._backbone.std)

        found: list[Any] = []
        with ThreadPoolExecutor(1) as pool:  # makes a batch while the network runs the one before
            coming = pool.submit(batch, 0)
            for start in track(
                range(0, len(indices), BATCH), name, disable=not sys.stderr.isatty()
            ):
                pixels = coming.result()
                coming = pool.submit(batch, start + BATCH)
                maps = run(tf.constant(pixels)).numpy()
                mine = indices[start : start + BATCH]
                found += [use(int(i), one) for i, one in zip(mine, maps, strict=False)]
        return found


if __name__ == "__main__":
    try:
        judge(options.parse(options.parser(__doc__)))
    except EdgeError as exc:
        sys.exit(str(exc))
