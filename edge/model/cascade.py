"""A second model that is asked where the first is unsure: more accurate, for some more work.

Unsure: the two best scores are nearer than ``below``. The second one's scores then stand for the
first one's; where it gives none, the first one's stay. The labels of both are the same.

In a pipeline it is preprocessing and network at once: the second model's time is part of the
invoke. Runs on the caller's thread; nothing is allocated after the start.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge.frames import Frame
from edge.model.preprocess import Preprocessor
from edge.model.runtime import Classifier


class Cascade:
    """A first model and a second.

    second  writes the scores of a frame into (C,) float32; False where it has none
    below   margin of the two best scores
    """

    def __init__(
        self,
        preprocess: Preprocessor,
        classifier: Classifier,
        second: Callable[[Frame, NDArray[np.float32]], bool],
        below: float,
    ) -> None:
        self._preprocess, self._classifier, self._second = preprocess, classifier, second
        self._below = below
        self._frame: Frame | None = None
        self.labels_total = classifier.labels_total
        self.asked_total = 0
        """Frames for which the second model was asked."""
        self._scores, self._other = (np.zeros(self.labels_total, np.float32) for _ in range(2))
        self._good = False

    def preprocess(self, frame: Frame, out: NDArray[np.generic]) -> None:
        """Write ``frame`` into the first model's input."""
        self._frame = frame
        self._preprocess(frame, out)

    def input_view(self) -> NDArray[np.generic]:
        """Return the first model's input."""
        return self._classifier.input_view()

    def invoke(self) -> None:
        """Run the first model, and the second one where the first is unsure."""
        frame, self._frame = self._frame, None
        self._classifier.invoke()
        self._good = self._classifier.scores(self._scores)
        if self._good and frame is not None and margin(self._scores) < self._below:
            self.asked_total += 1
            if self._second(frame, self._other):
                self._scores[:] = self._other

    def scores(self, out: NDArray[np.float32]) -> bool:
        """Write the scores into ``out``, (C,); False where they are not probabilities."""
        out[:] = self._scores
        return self._good

    def fault(self) -> str:
        """Return why they are not."""
        return self._classifier.fault()


def margin(scores: NDArray[np.float32]) -> float:
    """Return the difference of the two best scores; 1 where there is one."""
    if len(scores) < 2:
        return 1.0
    best = int(scores.argmax())
    highest, scores[best] = float(scores[best]), -1.0
    second = float(scores.max())
    scores[best] = highest
    return highest - second
