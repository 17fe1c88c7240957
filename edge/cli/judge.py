"""One model's opinion of frames, by the daemon's own preprocessing, pipeline and smoothing.

Reads no clock and starts no plug: the same frames, model and config give the same answers.
"""

from __future__ import annotations

from typing import NamedTuple

from edge.config import Config
from edge.contract.encode import Wire
from edge.daemon.run import Run
from edge.frames import Frame, InvalidScores
from edge.messages import Message
from edge.model.engine import Engine


class Opinion(NamedTuple):
    """What is said of one frame.

    label, score, partial  of the window after it
    scores   (C,) of this frame alone; None where there are none
    invalid  why there are none
    """

    label: str | None
    score: float
    partial: bool
    scores: tuple[float, ...] | None
    invalid: str = ""


class Judge:
    """A model at work on frames that are given to it, in order.

    name  begins the ids of its events; empty: the run's own
    ts    wall clock of the newest frame, for the events; set by the caller
    """

    def __init__(self, config: Config, engine: Engine, name: str = "") -> None:
        self.ts = 0.0
        self.run = Run(config, engine)
        base = f"{config.mqtt.base_topic}/{config.device.id}"
        self.wire = Wire(base, engine.card.labels, name or self.run.id, lambda: self.ts)

    def frame(self, frame: Frame) -> tuple[Opinion, Message | None]:
        """Classify ``frame``; return the opinion, and the event of a change of label."""
        run = self.run
        run.read(frame)
        prediction, change, _ = run.pipeline.process(frame)
        before = run.classify(prediction)
        event = self.wire.label_changed(change, frame.sequence) if change else None
        if isinstance(prediction, InvalidScores):
            last = (before.label, before.score, before.partial) if before else (None, 0.0, True)
            return Opinion(*last, None, prediction.why), event
        scores = tuple(run.pipeline.scores.tolist())
        return Opinion(prediction.label, prediction.score, prediction.partial, scores), event
