"""What is published: every field of every payload.

Every field of every payload is declared here, with its unit in its name. Fields that were added
later have a default, so that an older daemon's messages can be read. Topics are relative to
``edge/<device_id>``. Pure.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

Share = Annotated[float, Meta(ge=0, le=1)]
Moment = Annotated[float, Meta(ge=0, lt=253_402_300_800)]
"""Wall clock: seconds since 1970, within four-digit years."""


FEW_LABELS: Final = 10
"""So many scores are published whole, and get an entity each; of more only the best."""


class Stamped(msgspec.Struct, frozen=True, kw_only=True):
    """What every payload has: ``seq`` counts the topic's messages, ``ts`` is wall-clock time."""

    seq: int
    ts: Moment


class State(Stamped, frozen=True, kw_only=True):
    """The smoothed prediction.

    label         null while nothing is certain
    score         of ``label``, or of the best label where that is null
    scores        of every label where these are few, else the best ones, best first, and
                  ``label``'s
    since_s       how long ``label`` has lasted
    partial       the smoothing window is not full yet
    frame         sequence number of the frame
    paused        nothing is classified until ``resume``
    """

    label: str | None
    score: Share
    scores: dict[str, Share]
    since_s: float
    partial: bool
    frame: int
    paused: bool = False


class Result(State, frozen=True, kw_only=True):
    """One prediction. latency_ms: from capture to hand-off."""

    latency_ms: float


EventType = Literal[
    "label_changed",
    "frames_corrupt",
    "scores_invalid",
    "camera_lost",
    "camera_stalled",
    "camera_failed",
    "camera_recovered",
    "camera_changed",
    "paused",
    "resumed",
    "changed",
    "reloaded",
    "reload_failed",
    "duplicate_id",
]


class Event(Stamped, frozen=True, kw_only=True):
    """Something happened. ``id`` is the same in every copy of this event."""

    id: str
    type: EventType
    before: str | None = None
    after: str | None = None
    evidence: dict[str, float | int | str] = {}


class Response(Stamped, frozen=True, kw_only=True):
    """The answer to a request.

    transaction  the request's own
    data         what was asked for, of a request that succeeded
    error        why it failed, on one line
    """

    status: Literal["ok", "error"]
    transaction: str | int | None
    data: dict[str, Any] = {}
    error: str = ""


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
    camera_problem     no frame came in the interval
    reopens_total      tries to bring a camera back
    invalid_scores_total  frames for which the model gave no probabilities; they change nothing
    unsent_total       messages that nobody will get
    spooled            events that wait for the broker
    spool_failures_total  events that the disk did not take; they wait in memory
    requests_total     requests that came, answered or not
    """

    interval_s: float
    fps: float
    frames_total: int
    dropped_total: int
    corrupt_total: int
    camera_problem: bool = False
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
    spooled: int
    spool_failures_total: int
    reconnects_total: int
    requests_total: int = 0
    reopens_total: int = 0
    invalid_scores_total: int = 0


class ModelInfo(msgspec.Struct, frozen=True):
    """The model and what runs it, as proven at start.

    input_from  who says what the pixels become (mean, std); empty of an older daemon
    """

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
    input_from: Literal["", "card", "metadata", "quantisation", "first layers", "assumed"] = ""


class CameraInfo(msgspec.Struct, frozen=True):
    """What was negotiated with the camera; of one that has never come, what was asked of it.

    width, height  of the frames
    format         what the camera sends
    state          recovering: it is being brought back; failed: with little hope
    error          why it is not online
    device         what the camera calls itself
    still          width and height of snapshots, where frames are smaller
    """

    driver: str
    source: str
    width: int
    height: int
    fps: float
    format: str
    state: Literal["online", "recovering", "failed"] = "online"
    error: str = ""
    device: str = ""
    still: tuple[int, int] | None = None


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
