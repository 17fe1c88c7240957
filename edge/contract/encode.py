"""Encoder: records become MQTT messages, with topic and JSON payload.

Pure. Wall-clock time (``ts``, seconds since 1970) is given by the caller, for display only: a Pi
has no real-time clock. Order by ``seq``, which counts one topic's messages.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec

from edge.config.publishing import PublishConfig
from edge.contract import (
    FEW_LABELS,
    PAYLOADS,
    About,
    Event,
    EventType,
    Evidence,
    Figures,
    Response,
    Result,
    Stamped,
    State,
)
from edge.frames import LabelChange, Prediction
from edge.messages import Message

ONLINE: Final = b"online"
OFFLINE: Final = b"offline"
ANSWER_TO_MAX: Final = 256
"""Characters of a topic that a request may name for its answer."""
EXPIRE_AFTER: Final = 3
"""Intervals after which a broker may forget a state, telemetry, a result."""
EXPIRE_MIN_S: Final = 30
TOP_K: Final = 5


class Wire:
    """Makes one device's messages.

    base    what the topics begin with, edge/<device_id>
    labels  (C,) in score order
    run     names this run of the daemon; event ids begin with it
    now     wall clock in seconds
    """

    def __init__(
        self, base: str, labels: tuple[str, ...], run: str, now: Callable[[], float]
    ) -> None:
        self.base, self.run, self.labels = base, run, labels
        self._expires: dict[str, int] = {}  # topic -> seconds; without an entry: never
        self._now = now
        self._seq: Counter[str] = Counter()
        self._encode = msgspec.json.Encoder().encode

    def configure(self, labels: tuple[str, ...], publish: PublishConfig) -> None:
        """Make messages for these labels and intervals from now on."""
        self.labels = labels
        for topic, interval_s in (
            ("state", publish.state_interval_s),
            ("telemetry", publish.telemetry_interval_s),
            ("result", 0.0),
        ):
            self._expires[topic] = max(EXPIRE_MIN_S, round(EXPIRE_AFTER * interval_s))

    def availability(self, online: bool) -> Message:
        """Return the retained online or offline; offline is also the last will."""
        return Message(f"{self.base}/availability", ONLINE if online else OFFLINE, 1, True)

    def state(self, prediction: Prediction, paused: bool = False, top_k: int = TOP_K) -> Message:
        """Return the smoothed prediction as the retained state. ``top_k``: number of scores."""
        return self._message("state", State, paused=paused, **self._prediction(prediction, top_k))

    def unknown(self, paused: bool, frame: int) -> Message:
        """Return the state of a model that has classified nothing yet: no label, no scores."""
        nothing: dict[str, Any] = {"label": None, "score": 0.0, "scores": {}, "since_s": 0.0}
        return self._message("state", State, paused=paused, partial=True, frame=frame, **nothing)

    def result(self, prediction: Prediction, latency_ns: int, top_k: int = TOP_K) -> Message:
        """Return one prediction."""
        fields = self._prediction(prediction, top_k)
        return self._message(
            "result", Result, paused=False, latency_ms=milliseconds(latency_ns), **fields
        )

    def label_changed(self, change: LabelChange, frame: int) -> Message:
        """Return the event of a change of label."""
        evidence: Evidence = {
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
        evidence: Evidence | None = None,
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

    def telemetry(self, figures: Figures) -> Message:
        """Return the telemetry."""
        return self._stamped("telemetry", figures.fields())

    def info(self, about: About) -> Message:
        """Return the retained description of this device."""
        fields = msgspec.structs.asdict(about)
        return self._stamped("info", {k: v for k, v in fields.items() if v is not msgspec.UNSET})

    def snapshot(self, jpeg: bytes, retain: bool) -> Message:
        """Return a picture."""
        return Message(f"{self.base}/snapshot", jpeg, 0, retain)

    def response(
        self,
        command: str,
        transaction: str | int | None,
        *,
        data: dict[str, Any] | None = None,
        error: str = "",
        answer_to: str = "",
        correlation: bytes = b"",
    ) -> Message:
        """Return the answer to a request: ``data``, or ``error`` where that is not empty.

        command    empty where it is unknown
        answer_to  topic that the request names; used where ``may_answer`` says so
        """
        self._seq["response"] += 1
        body = Response(
            seq=self._seq["response"],
            ts=self._ts(),
            status="error" if error else "ok",
            transaction=transaction,
            data=data or {},
            error=error,
        )
        topic = f"{self.base}/response/{command or 'unknown'}"
        if may_answer(answer_to, self.base):
            topic = answer_to
        return Message(topic, self._encode(body), 1, False, None, correlation)

    def _prediction(self, prediction: Prediction, top_k: int) -> dict[str, Any]:
        return {
            "label": prediction.label,
            "score": round(prediction.score, 4),
            "scores": self._scores(prediction, top_k),
            "since_s": round((prediction.captured_ns - prediction.since_ns) / 1e9, 3),
            "partial": prediction.partial,
            "frame": prediction.sequence,
        }

    def _scores(self, prediction: Prediction, top_k: int) -> dict[str, float]:
        """Return all scores in label order; of many labels the best, best first."""
        labels, scores = self.labels, prediction.scores
        if len(labels) <= FEW_LABELS:
            return {label: round(score, 4) for label, score in zip(labels, scores, strict=True)}
        best = heapq.nlargest(top_k, range(len(labels)), key=scores.__getitem__)
        named = {labels[index]: round(scores[index], 4) for index in best}
        if prediction.label is not None:  # a better one may not have replaced it yet
            named.setdefault(prediction.label, round(prediction.score, 4))
        return named

    def _message(self, topic: str, payload: type[Stamped], **fields: Any) -> Message:
        self._seq[topic] += 1
        return self._encoded(topic, payload(seq=self._seq[topic], ts=self._ts(), **fields))

    def _stamped(self, topic: str, fields: dict[str, Any]) -> Message:
        self._seq[topic] += 1
        return self._encoded(topic, {"seq": self._seq[topic], "ts": self._ts(), **fields})

    def _encoded(self, topic: str, body: Stamped | dict[str, Any]) -> Message:
        _, qos, retain = PAYLOADS[topic]
        expires_s = self._expires.get(topic)
        return Message(f"{self.base}/{topic}", self._encode(body), qos, retain, expires_s)

    def _ts(self) -> float:
        return round(self._now(), 3)


def may_answer(topic: str, base: str) -> bool:
    """Return whether an answer may go to ``topic``, which a stranger has named.

    Of our own topics, to those of responses only: no request makes this device forge its state.
    """
    if not topic or len(topic) > ANSWER_TO_MAX or set(topic) & set("+#\0") or topic[0] == "$":
        return False
    return not topic.startswith(f"{base}/") or topic.startswith(f"{base}/response/")


def milliseconds(duration_ns: int) -> float:
    """Return nanoseconds as milliseconds with three decimals."""
    return round(duration_ns / 1e6, 3)
