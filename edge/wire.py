"""Records -> topic and JSON payload.

Pure. Wall-clock time (``ts``, seconds since 1970) is given by the caller, for display only: a Pi
has no real-time clock. Order by ``seq``, which counts one topic's messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec

from edge.payloads import (
    PAYLOADS,
    SCHEMA,
    Event,
    EventType,
    Info,
    Result,
    Stamped,
    State,
    Telemetry,
)
from edge.types import LabelChange, Message, Prediction

ONLINE: Final = b"online"
OFFLINE: Final = b"offline"


class Wire:
    """Makes one device's messages.

    device  as in the topics
    labels  (C,) in score order
    run     names this run of the daemon; event ids begin with it
    now     wall clock in seconds
    """

    def __init__(
        self, device: str, labels: tuple[str, ...], run: str, now: Callable[[], float]
    ) -> None:
        self.base = f"edge/{device}"
        self.run = run
        self._labels, self._now = labels, now
        self._seq: Counter[str] = Counter()
        self._encode = msgspec.json.Encoder().encode

    def availability(self, online: bool) -> Message:
        """Return the retained online or offline; offline is also the last will."""
        return Message(f"{self.base}/availability", ONLINE if online else OFFLINE, 1, True)

    def state(self, prediction: Prediction) -> Message:
        """Return the smoothed prediction as the retained state."""
        return self._message("state", State, **self._prediction(prediction))

    def result(self, prediction: Prediction, latency_ns: int) -> Message:
        """Return one prediction."""
        fields = self._prediction(prediction)
        return self._message("result", Result, latency_ms=milliseconds(latency_ns), **fields)

    def label_changed(self, change: LabelChange, frame: int) -> Message:
        """Return the event of a change of label."""
        evidence: dict[str, float | int | str] = {
            "score": round(change.score, 4),
            "before_s": round(change.before_ns / 1e9, 3),
            "frame": frame,
        }
        return self.event("label_changed", change.before, change.after, evidence)

    def event(
        self,
        type: EventType,
        before: str | None = None,
        after: str | None = None,
        evidence: dict[str, float | int | str] | None = None,
    ) -> Message:
        """Return an event with an id of its own."""
        return self._message(
            "event",
            Event,
            id=f"{self.run}-{self._seq['event'] + 1}",
            type=type,
            before=before,
            after=after,
            evidence=evidence or {},
        )

    def telemetry(self, **fields: Any) -> Message:
        """Return the telemetry; ``fields`` are Telemetry's but for seq and ts."""
        return self._message("telemetry", Telemetry, **fields)

    def info(self, **fields: Any) -> Message:
        """Return the retained description; ``fields`` are Info's but for seq, ts and schema."""
        return self._message("info", Info, schema=SCHEMA, **fields)

    def _prediction(self, prediction: Prediction) -> dict[str, Any]:
        return {
            "label": prediction.label,
            "score": round(prediction.score, 4),
            "scores": {
                label: round(score, 4)
                for label, score in zip(self._labels, prediction.scores, strict=True)
            },
            "since_s": round((prediction.captured_ns - prediction.since_ns) / 1e9, 3),
            "partial": prediction.partial,
            "frame": prediction.sequence,
        }

    def _message(self, topic: str, payload: type[Stamped], **fields: Any) -> Message:
        self._seq[topic] += 1
        body = payload(seq=self._seq[topic], ts=round(self._now(), 3), **fields)
        _, qos, retain = PAYLOADS[topic]
        return Message(f"{self.base}/{topic}", self._encode(body), qos, retain)


def milliseconds(duration_ns: int) -> float:
    """Return nanoseconds as milliseconds with three decimals."""
    return round(duration_ns / 1e6, 3)
