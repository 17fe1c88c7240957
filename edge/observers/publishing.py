"""The observer that publishes: states, label events, results and snapshots.

Rule 1: a state goes out when the label changes, with the first prediction, when the window becomes
        full, and as a heartbeat, also while frames are skipped; never for a frame without scores,
        and never while there are no frames.
Rule 2: results have a rate of their own and are off by default.

Knows the contract and a callable that takes messages, but no broker. Runs on the loop's thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from edge.config import Config
from edge.contract import EventType
from edge.contract.encode import Wire
from edge.frames import Classified, Frame, InvalidScores, LabelChange, Prediction
from edge.messages import Message

AGAIN_NS: Final = 3600 * 10**9
"""Invalid scores are an event once, and again only after so long without any."""


class RunState(Protocol):
    """What it reads of the run."""

    @property
    def config(self) -> Config:
        """The one in force."""

    @property
    def last(self) -> Prediction | None:
        """The newest prediction."""

    @property
    def paused(self) -> bool:
        """Whether frames are skipped by request."""


class EventLog(Protocol):
    """Logs and publishes events."""

    def log(self, type: EventType, line: str) -> None:
        """Log ``line`` as an event's."""

    def add(self, type: EventType, line: str, **evidence: float | int | str) -> None:
        """Log ``line`` and publish the event."""


class Publishing:
    """Publishes what a run sees.

    publish   takes a message, never waits
    snapshot  publishes a picture of a frame
    """

    name = "publish"

    def __init__(
        self,
        run: RunState,
        wire: Wire,
        publish: Callable[[Message], None],
        events: EventLog,
        snapshot: Callable[[Frame], object],
    ) -> None:
        self._run, self._wire, self._publish = run, wire, publish
        self._events, self._snapshot = events, snapshot
        self._state_ns = self._result_ns = time.monotonic_ns()
        self._invalid_ns = -AGAIN_NS

    def classified(self, seen: Classified) -> None:
        """Publish what this frame has changed."""
        prediction, change = seen.prediction, seen.change
        if isinstance(prediction, InvalidScores):
            self._invalid(seen, prediction)
            return
        config = self._run.config
        publish, now_ns = config.publish, seen.done_ns
        if change is not None:
            self._label_changed(change, seen.frame)
        full = seen.before is not None and seen.before.partial and not prediction.partial
        if change is not None or seen.before is None or full:
            self.state()
        else:
            self.heartbeat()
        if publish.result and now_ns - self._result_ns >= 1e9 / publish.result_rate:
            self._result_ns = now_ns
            latency_ns = now_ns - seen.frame.captured_ns
            self._publish(self._wire.result(prediction, latency_ns, publish.top_k))
        if change is not None and config.snapshot.enabled and config.snapshot.on_event:
            self._snapshot(seen.frame)

    def heartbeat(self) -> None:
        """Publish the newest prediction again after ``state_interval_s`` without."""
        interval_s = self._run.config.publish.state_interval_s
        if time.monotonic_ns() - self._state_ns >= interval_s * 1e9:
            self.state()

    def state(self) -> None:
        """Publish the newest prediction, if there is one."""
        self._state_ns = time.monotonic_ns()
        last, top_k = self._run.last, self._run.config.publish.top_k
        if last is not None:
            self._publish(self._wire.state(last, self._run.paused, top_k))

    def figures(self) -> None:
        """Return nothing: telemetry has the publisher's own figures."""

    def close(self) -> None:
        """Release nothing."""

    def _label_changed(self, change: LabelChange, frame: Frame) -> None:
        line = f"{change.before} -> {change.after} ({change.score:.2f})"
        self._events.log("label_changed", line)
        self._publish(self._wire.label_changed(change, frame.sequence))

    def _invalid(self, seen: Classified, scores: InvalidScores) -> None:
        number = seen.frame.sequence
        if seen.done_ns - self._invalid_ns >= AGAIN_NS:
            line = f"frame {number} has no scores: {scores.why}; such frames are counted"
            self._events.add("scores_invalid", line, error=scores.why, frame=number)
        self._invalid_ns = seen.done_ns
