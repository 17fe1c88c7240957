"""The path of a frame through the daemon: gates, pipeline, observers. `edge bench` runs it too."""

from __future__ import annotations

import time

from edge.daemon.local.frames import Frames
from edge.daemon.run import Run
from edge.frames import Classified, Frame
from edge.observers.publishing import Publishing
from edge.pipeline.plugs import Plugs
from edge.telemetry import Stages


class FramePath:
    """The path of a frame. Runs on the loop's thread.

    frames  of the local socket; None without one
    """

    def __init__(
        self,
        run: Run,
        plugs: Plugs,
        stages: Stages,
        publishing: Publishing,
        frames: Frames | None = None,
    ) -> None:
        self._run, self._plugs, self._stages = run, plugs, stages
        self._publishing, self._frames = publishing, frames

    def process(self, frame: Frame, wait_ns: int) -> None:
        """Classify ``frame``, unless a gate skips it. wait_ns: how long the camera took."""
        run = self._run
        run.read(frame)
        if reason := self._plugs.skip(frame):
            run.skip(reason)
            self._publishing.heartbeat()  # the last prediction stands
            return
        prediction, change, times = run.pipeline.process(frame)
        before = run.classify(prediction)
        scores, done_ns = run.pipeline.scores, time.monotonic_ns()
        seen = Classified(frame, scores, prediction, before, change, times, done_ns)
        handed_ns = self._plugs.classified(seen)
        if self._frames:  # which is false without a subscriber
            self._frames.classified(seen, run.engine.card.labels)
        self._stages.add(wait_ns, times, handed_ns - done_ns, handed_ns - frame.captured_ns)
