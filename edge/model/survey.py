"""Figures of the frames that a model classifies, for its baseline and for what watches drift.

They are those of the picture that the model saw, in its input tensor, so that a baseline made of
files and a camera's frames compare. Runs on the caller's thread.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from edge import baseline
from edge.baseline import OF_PICTURES, OF_SCORES, Baseline, Gauge
from edge.frames import Frame
from edge.model.engine import Engine


class Survey:
    """Measures the frame that an engine has just classified."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._gauge = Gauge(engine.card.preprocessing.color)

    def picture(self, out: NDArray[np.float32]) -> None:
        """Write the figures of the picture into ``out``, (6,) in the order of ``OF_PICTURES``."""
        engine = self._engine
        self._gauge.measure(engine.preprocess.picture(engine.classifier.input_view()), out)

    def figures(self, scores: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Write those of the picture and of its scores, (C,), into ``out``, (8,)."""
        self.picture(out)
        out[len(OF_PICTURES) :] = baseline.score_figures(scores)

    def features(self) -> NDArray[np.float32] | None:
        """Return the features, (F,) the caller's own; None where the model has no head."""
        return self._engine.classifier.features()


def survey(engine: Engine, frames: Iterable[Frame]) -> Baseline:
    """Return the baseline of a classifier and the pictures of its training.

    A frame without scores is left out. Raises ValueError where too few are left.
    """
    one = Survey(engine)
    scores = np.empty(engine.classifier.labels_total, np.float32)
    rows, features = [], []
    for frame in frames:
        if not engine.classify(frame, scores):
            continue
        row = np.empty(len(OF_PICTURES) + len(OF_SCORES), np.float32)
        one.figures(scores, row)
        rows.append(row)
        features.append(one.features())
    known = [values for values in features if values is not None]
    shaped = np.array(rows, np.float32).reshape(len(rows), -1)
    return baseline.build(shaped, np.array(known) if known else None)
