"""A candidate model: tried and loaded beside the loop, then run by the thread of its shadow.

[1] A candidate that has passed its trial is loaded on a thread of its own, which gets frozen
    records; the loop, which calls ``poll`` between two frames, takes it once that thread is done.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.background import Call
from edge.config import ModelConfig, SmoothingConfig
from edge.errors import ModelError, boundary
from edge.frames import Frame, Prediction
from edge.model import engine as engines
from edge.model.attempt import Attempt
from edge.model.engine import Engine
from edge.observers.shadow import Loaded
from edge.pipeline.smoothing import Smoother, check
from edge.telemetry import HealthReader


class Candidate:
    """A model with a window of its own. Raises ConfigError where that would be too large."""

    def __init__(self, engine: Engine, smoothing: SmoothingConfig) -> None:
        self._engine, self._smoothing = engine, smoothing
        self.labels = engine.card.labels
        self._smoother = Smoother(self.labels, smoothing, engine.card.smoothing)

    def prepare(self, frame: Frame) -> None:
        """Write ``frame`` into the input tensor."""
        self._engine.preprocess(frame, self._engine.classifier.input_view())

    def classify(self, out: NDArray[np.float32]) -> str:
        """Write the scores of what was prepared into ``out``, (C,); else return what is wrong."""
        classifier = self._engine.classifier
        classifier.invoke()
        return "" if classifier.scores(out) else classifier.fault()

    def smooth(
        self, scores: NDArray[np.float32], frame: Frame, smoothing: SmoothingConfig
    ) -> Prediction:
        """Take a frame's scores into the window. Raises ConfigError as above."""
        if smoothing != self._smoothing:
            check(smoothing.window, self.labels)
            self._smoother.configure(smoothing)
            self._smoothing = smoothing
        return self._smoother.update(scores, frame.sequence, frame.captured_ns)[0]


class Loading:
    """A candidate on its way; begins with the first ``poll``. Runs on the loop's thread."""

    def __init__(self, model: ModelConfig, smoothing: SmoothingConfig) -> None:
        self._model, self._smoothing = model, smoothing
        self._attempt: Attempt | None = None
        self._call: Call[Loaded] | None = None

    def poll(self) -> Loaded | None:
        """Take the next step; return the candidate, None before. Raises EdgeError."""
        with boundary(ModelError, "the model cannot be used", self._model.path):
            if self._call is None:
                if self._attempt is None:
                    self._attempt = Attempt(self._model)
                if not self._attempt.wait(0.0):
                    return None
                self._attempt.check()
                model, sha256, smoothing = self._model, self._attempt.sha256, self._smoothing
                self._call = Call(lambda: _load(model, sha256, smoothing), name="model")  # [1]
            return self._call.result() if self._call.wait(0.0) else None

    def close(self) -> None:
        """End a trial that runs; what is being loaded is left behind."""
        if self._attempt is not None:
            self._attempt.close()


def _load(model: ModelConfig, sha256: str, smoothing: SmoothingConfig) -> Loaded:
    """[1] Return the candidate, warm. Raises EdgeError."""
    before_bytes = HealthReader().read().rss_bytes or 0
    engine = engines.load(model, sha256)
    grown_bytes = (HealthReader().read().rss_bytes or 0) - before_bytes
    name = f"{engine.card.name} {engine.card.version}".strip()
    memory_bytes = max(grown_bytes, engine.path.stat().st_size)  # free memory may be used again
    return Loaded(name, Candidate(engine, smoothing), memory_bytes)
