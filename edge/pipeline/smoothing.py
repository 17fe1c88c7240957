"""Sliding window: scores of single frames become a stable label, and an event when it changes.

Rule 1: only this file decides when a label changes.
Rule 2: it never reads a clock; time arrives inside the frame.
Rule 3: the window is ``partial`` until it is full, and says so; no label comes before that.

Pure state; runs on the caller's thread; allocates nothing image-sized.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.config import Recommended, SmoothingConfig, Thresholds, thresholds
from edge.errors import ConfigError
from edge.frames import LabelChange, Prediction

VALUES_MAX: Final = 1_000_000
"""Scores that a window may hold, 4 bytes each: 10,000 frames of 100 labels."""


def check(window: int, labels: tuple[str, ...]) -> None:
    """Raise ConfigError where a window of so many frames would take too much memory."""
    if window * len(labels) > VALUES_MAX:
        raise ConfigError(
            "the window is too large for so many labels",
            where="smoothing.window",
            expected=f"at most {VALUES_MAX // len(labels)} with {len(labels)} labels",
            got=str(window),
        )


class Smoother:
    """A sliding window over the scores, with hysteresis on the label.

    labels       (C,) distinct
    smoothing    a label comes when its smoothed score is at least ``enter`` for ``hold_frames``
                 frames in a row, and goes when it is below ``exit`` for as long
    recommended  by the model's card: thresholds that ``smoothing`` leaves out

    Raises ConfigError where the window would take too much memory.
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        smoothing: SmoothingConfig,
        recommended: Recommended | None = None,
    ) -> None:
        check(smoothing.window, labels)
        self._labels, self._smoothing = labels, smoothing
        self._recommended = recommended
        self._thresholds = thresholds(smoothing, recommended)
        self._alpha = _alpha(smoothing)
        self._window = smoothing.window
        self._ring = np.zeros((self._window, len(labels)), np.float32)
        self._smoothed = np.zeros(len(labels), np.float32)
        self._current: int | None = None
        self._since_ns = 0
        self._count = 0  # frames since the window was empty
        self._candidate: int | None = None
        self._held_frames = 0

    @property
    def thresholds(self) -> Thresholds:
        """Those in force, and where they come from."""
        return self._thresholds

    @property
    def settings(self) -> SmoothingConfig:
        """Those in force; another object after each ``configure``."""
        return self._smoothing

    @property
    def full(self) -> bool:
        """Whether the window has as many frames as it holds."""
        return self._count >= self._window

    def refill(self) -> None:
        """Begin with an empty window, as after a gap; the label stays until it is full."""
        self._count = 0
        self._candidate = None
        self._held_frames = 0

    def configure(self, smoothing: SmoothingConfig) -> None:
        """Continue with other settings; what was smoothed so far fills the new window."""
        before, self._smoothing = self._smoothing, smoothing
        self._thresholds = thresholds(smoothing, self._recommended)
        self._alpha, self._window = _alpha(smoothing), smoothing.window
        if (smoothing.window, smoothing.method) == (before.window, before.method):
            return
        full = self._count >= before.window
        self._ring = np.tile(self._smoothed, (self._window, 1))
        self._count = self._window if full else min(self._count, self._window - 1)

    def update(
        self, scores: NDArray[np.float32], sequence: int, captured_ns: int
    ) -> tuple[Prediction, LabelChange | None]:
        """Take one frame's scores; return the prediction now, and the change it made if any.

        scores  (C,) float32, read only, copied
        """
        if not self._since_ns:
            self._since_ns = captured_ns
        self._smooth(scores)
        change = self._decide(captured_ns)
        index = int(self._smoothed.argmax()) if self._current is None else self._current
        prediction = Prediction(
            sequence=sequence,
            captured_ns=captured_ns,
            label=None if self._current is None else self._labels[self._current],
            score=float(self._smoothed[index]),
            scores=tuple(self._smoothed.tolist()),
            since_ns=self._since_ns,
            partial=self._count < self._window,
        )
        return prediction, change

    def _smooth(self, scores: NDArray[np.float32]) -> None:
        if self._alpha:
            alpha = self._alpha if self._count else 1.0
            self._smoothed += alpha * (scores - self._smoothed)
        else:
            self._ring[self._count % self._window] = scores
            count = min(self._count + 1, self._window)
            np.mean(self._ring[:count], axis=0, out=self._smoothed)
        self._count += 1

    def _decide(self, captured_ns: int) -> LabelChange | None:
        """Move to another label, or to none, once it has been due for ``hold_frames`` frames."""
        if self._count < self._window:
            return None
        best = int(self._smoothed.argmax())
        due: int | None = None
        if self._current is not None and self._smoothed[self._current] >= self._thresholds.exit:
            due = self._current
        elif self._smoothed[best] >= self._thresholds.enter:
            due = best
        if due == self._current:
            self._held_frames = 0
            return None
        self._held_frames = self._held_frames + 1 if due == self._candidate else 1
        self._candidate = due
        if self._held_frames < self._smoothing.hold_frames:
            return None
        change = LabelChange(
            captured_ns=captured_ns,
            before=None if self._current is None else self._labels[self._current],
            after=None if due is None else self._labels[due],
            before_ns=captured_ns - self._since_ns,
            score=float(self._smoothed[best]),
        )
        self._current, self._since_ns, self._held_frames = due, captured_ns, 0
        return change


def _alpha(smoothing: SmoothingConfig) -> float:
    """Return the share of a new frame in the exponential mean; 0 for the plain mean."""
    return 2.0 / (smoothing.window + 1) if smoothing.method == "exponential" else 0.0
