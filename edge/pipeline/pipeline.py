"""The pipeline: one frame through preprocess, invoke and smooth, each timed.

Rule 1: scores that are not probabilities never reach the window.

Knows the stages only by their Protocols; runs on the daemon's one thread.
"""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.frames import Frame, FrameTimes, InvalidScores, LabelChange, Prediction


class Preprocess(Protocol):
    """Writes a frame into the input tensor."""

    def __call__(self, frame: Frame, out: NDArray[np.generic], /) -> None:
        """Write ``frame`` into ``out``, (1, H, W, C)."""


class Classify(Protocol):
    """A preallocated network."""

    labels_total: int

    def input_view(self) -> NDArray[np.generic]:
        """Return the input tensor's memory; dropped before ``invoke``."""

    def invoke(self) -> None:
        """Run the network."""

    def scores(self, out: NDArray[np.float32]) -> bool:
        """Write the scores into ``out``, (C,); False where they are not probabilities."""

    def fault(self) -> str:
        """Return why they are not."""


class Smooth(Protocol):
    """The sliding window."""

    def update(
        self, scores: NDArray[np.float32], sequence: int, captured_ns: int
    ) -> tuple[Prediction, LabelChange | None]:
        """Take one frame's scores."""


class Pipeline:
    """The stages in order.

    scores  (C,) float32, of the newest frame; preallocated, overwritten by the next one
    """

    def __init__(self, preprocess: Preprocess, classifier: Classify, smoother: Smooth) -> None:
        self._preprocess, self._classifier, self._smoother = preprocess, classifier, smoother
        self.scores: NDArray[np.float32] = np.zeros(classifier.labels_total, np.float32)

    def process(
        self, frame: Frame
    ) -> tuple[Prediction | InvalidScores, LabelChange | None, FrameTimes]:
        """Return the prediction after ``frame``, the change of label if any, and the times."""
        prediction: Prediction | InvalidScores
        change: LabelChange | None = None
        start = time.monotonic_ns()
        self._preprocess(frame, self._classifier.input_view())
        ready = time.monotonic_ns()
        self._classifier.invoke()
        invoked = time.monotonic_ns()
        if self._classifier.scores(self.scores):
            prediction, change = self._smoother.update(
                self.scores, frame.sequence, frame.captured_ns
            )
        else:
            prediction = InvalidScores(self._classifier.fault())
        done = time.monotonic_ns()
        return prediction, change, FrameTimes(ready - start, invoked - ready, done - invoked)
