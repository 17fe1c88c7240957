"""Records -> topic and JSON payload; the public contract, and its JSON Schema.

Rule 1: every field of every payload is declared here, with its unit in its name.
Rule 2: pure; wall-clock time (``ts``, seconds since 1970) is given by the caller, for display
        only: a Pi has no real-time clock. Order by ``seq``, which counts one topic's messages.

Topics are relative to ``edge/<device_id>``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from edge.types import LabelChange, Message, Prediction

SCHEMA: Final = 1
"""Version of this contract; in ``info.schema``."""
ONLINE: Final = b"online"
OFFLINE: Final = b"offline"


class Stamped(msgspec.Struct, frozen=True, kw_only=True):
    """What every payload has: ``seq`` counts the topic's messages, ``ts`` is wall-clock time."""

    seq: int
    ts: float


class State(Stamped, frozen=True, kw_only=True):
    """The smoothed prediction.

    label         null while nothing is certain
    score         of ``label``, or of the best label where that is null
    since_s       how long ``label`` has lasted
    partial       the smoothing window is not full yet
    frame         sequence number of the frame
    """

    label: str | None
    score: float
    scores: dict[str, float]
    since_s: float
    partial: bool
    frame: int


class Result(State, frozen=True, kw_only=True):
    """One prediction. latency_ms: from capture to hand-off."""

    latency_ms: float


class Event(Stamped, frozen=True, kw_only=True):
    """Something happened. ``id`` is the same in every copy of this event."""

    id: str
    type: Literal["label_changed", "frames_corrupt"]
    before: str | None = None
    after: str | None = None
    evidence: dict[str, float | int | str] = {}


class StageTimes(msgspec.Struct, frozen=True):
    """Percentiles of one stage over the interval, at most the last 1,024 frames."""

    p50: float
    p90: float
    p99: float
    max: float


class Telemetry(Stamped, frozen=True, kw_only=True):
    """How the daemon and its machine are. What the machine does not have is null.

    stages_ms          capture_wait, preprocess, invoke, smooth, publish; pipeline is from
                       preprocess to publish, overhead that less invoke, latency from capture to
                       hand-off
    frames_total, dropped_total, corrupt_total   since the start
    cpu_share          of one core
    throttled_bits     the firmware's get_throttled
    """

    interval_s: float
    fps: float
    frames_total: int
    dropped_total: int
    corrupt_total: int
    stages_ms: dict[str, StageTimes]
    rss_bytes: int | None
    pss_bytes: int | None
    cpu_share: float | None
    temperature_celsius: float | None
    cpu_clock_hz: int | None
    throttled_bits: int | None
    load_1m: float | None
    uptime_s: float
    unsent_total: int
    reconnects_total: int


class ModelInfo(msgspec.Struct, frozen=True):
    """The model and what runs it, as proven at start."""

    name: str
    version: str
    sha256: str
    labels: tuple[str, ...]
    input_shape: tuple[int, ...]
    input_dtype: str
    runtime: str
    kind: str
    xnnpack: bool
    delegated_share: float
    left_out: tuple[str, ...]
    threads: int
    golden: Literal["passed", "none"]


class CameraInfo(msgspec.Struct, frozen=True):
    """What was negotiated with the camera."""

    driver: str
    source: str
    width: int
    height: int
    fps: float
    format: str


class Info(Stamped, frozen=True, kw_only=True):
    """What this device is. ``config`` holds no secret."""

    schema: int
    device: str
    version: str
    run: str
    machine: str
    python: str
    start_s: float
    model: ModelInfo
    camera: CameraInfo
    config: dict[str, Any]


PAYLOADS: Final[dict[str, tuple[type[Stamped], int, bool]]] = {
    "info": (Info, 1, True),
    "state": (State, 1, True),
    "result": (Result, 0, False),
    "event": (Event, 1, False),
    "telemetry": (Telemetry, 0, False),
}
"""Topic -> payload, QoS, retained. ``availability`` is plain text: online or offline."""


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
        type: Literal["label_changed", "frames_corrupt"],
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


def schema() -> dict[str, Any]:
    """Return topic -> JSON Schema of its payload, every schema complete in itself."""
    found: dict[str, Any] = {"availability": {"type": "string", "enum": ["online", "offline"]}}
    for topic, (payload, qos, retain) in PAYLOADS.items():
        found[topic] = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": f"edge/<device_id>/{topic}, QoS {qos}{', retained' if retain else ''}",
            **msgspec.json.schema(payload),
        }
    return found
