"""The state of one run of the daemon: what is in force, and what has been counted.

Rule 1: only the methods of this file write a ``Run``; every other part reads it, or calls the
        method that says what has changed.
Rule 2: they are called on the loop's thread alone, so that nothing changes during a frame.
"""

from __future__ import annotations

import os
import time
from collections import Counter

import msgspec

from edge.config import Config
from edge.errors import ConfigError, boundary
from edge.frames import Frame, InvalidScores, Prediction
from edge.gates.pause import PauseGate
from edge.model.engine import Engine
from edge.pipeline.pipeline import Pipeline
from edge.pipeline.smoothing import Smoother


class Run:
    """One run. Owner: the loop of ``service``; it lives as long as the loop does.

    config, engine  those in force from the start; what the config leaves to the model's card is
                    None in it, and a value in ``in_force``
    Raises ConfigError where the smoothing window would take too much memory.
    """

    def __init__(self, config: Config, engine: Engine) -> None:
        self.id = os.urandom(4).hex()
        """Names this run in messages."""
        self.config, self.engine = config, engine
        self.pipeline, self.smoother = assemble(config, engine)
        self.ready = False
        self.start_s = 0.0
        """From the start of the process to READY."""
        self.frames_total = 0
        self.dropped_total = 0
        """Frames that were replaced before they were read."""
        self.skipped_total: Counter[str] = Counter()
        """Reason of a gate -> frames that were not classified."""
        self.invalid_scores_total = 0
        self._asked_before = 0
        self.requests_total = 0
        """Requests that arrived, executed or not."""
        self.last: Prediction | None = None
        """The newest prediction with the labels in force."""
        self.has_scores = True
        """Whether the model gave scores for the newest frame."""
        self.drifting = ""
        """Why the scores, or the features, are others than when the model was taught."""
        self.pause: PauseGate | None = None
        self.frame: Frame | None = None
        """The newest frame; its pixels are the camera's, valid until the next one is read."""
        self.sequence = -1
        """Number of the newest frame."""
        self._ready_ns = time.monotonic_ns()

    @property
    def paused(self) -> bool:
        """Whether frames are skipped by request."""
        return self.pause is not None

    @property
    def in_force(self) -> Config:
        """The config with every value in force."""
        smoothing = self.smoother.thresholds.over(self.config.smoothing)
        return msgspec.structs.replace(self.config, smoothing=smoothing)

    @property
    def second_model_total(self) -> int:
        """Frames for which a second model was asked."""
        cascade = self.engine.cascade
        return self._asked_before + (cascade.asked_total if cascade else 0)

    @property
    def proven(self) -> str:
        """What the start, or the last reload, has proven, on one line."""
        name, facts = self.engine.card.name, self.engine.classifier.facts
        return f"{name} on {facts.runtime}, {facts.delegated_share:.0%} delegated"

    @property
    def uptime_s(self) -> float:
        """Seconds since READY."""
        return round((time.monotonic_ns() - self._ready_ns) / 1e9, 1)

    def become_ready(self, start_s: float) -> None:
        """The start is done: the uptime counts from now."""
        self.ready, self.start_s = True, start_s
        self._ready_ns = time.monotonic_ns()

    def read(self, frame: Frame) -> None:
        """Count a frame, and those that it has replaced."""
        self.frames_total += 1
        self.dropped_total += max(0, frame.sequence - self.sequence - 1)
        self.sequence, self.frame = frame.sequence, frame

    def skip(self, reason: str) -> None:
        """Count a frame that a gate has skipped."""
        self.skipped_total[reason] += 1

    def classify(self, prediction: Prediction | InvalidScores) -> Prediction | None:
        """Record the pipeline's result for the newest frame; return the prediction before."""
        before = self.last
        self.has_scores = isinstance(prediction, Prediction)
        if isinstance(prediction, Prediction):
            self.last = prediction
        else:
            self.invalid_scores_total += 1
        return before

    def count_request(self) -> None:
        """Count a request that has arrived."""
        self.requests_total += 1

    def gap(self) -> None:
        """The camera was away: the window begins again, empty."""
        if self.frames_total:
            self.smoother.refill()

    def forget_frame(self) -> None:
        """The newest frame's pixels are no longer there."""
        self.frame = None

    def drift(self, reason: str) -> None:
        """The model drifts; empty: no more."""
        self.drifting = reason

    def set_pause(self, gate: PauseGate | None) -> None:
        """Pause, or resume."""
        self.pause = gate

    def configure(self, config: Config) -> None:
        """Continue with other settings and the same model."""
        self.config = config
        self.smoother.configure(config.smoothing)

    def replace(
        self, config: Config, engine: Engine, pipeline: Pipeline, smoother: Smoother
    ) -> None:
        """Continue with another config and another model."""
        if engine.card.labels != self.engine.card.labels:
            self.last = None
        self._asked_before = self.second_model_total
        self.config, self.engine = config, engine
        self.pipeline, self.smoother = pipeline, smoother
        self.drifting = ""


def assemble(config: Config, engine: Engine) -> tuple[Pipeline, Smoother]:
    """Return the engine in a pipeline of its own, and its window. Raises ConfigError."""
    with boundary(ConfigError, "cannot be used", "[smoothing]"):
        smoother = Smoother(engine.card.labels, config.smoothing, engine.card.smoothing)
        return Pipeline(*engine.stages, smoother), smoother
