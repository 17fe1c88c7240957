"""The payload of ``telemetry``: one record for each part, none of them declared twice.

A capability adds its own part: a frozen Struct, and a row in ``PARTS``. It is published as a field
of its own, under the name of the observer that gives it, and is absent where that is not
configured. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from edge.contract.adaptive import GovernorFigures, MotionFigures
from edge.contract.payloads import Share, Stamped, stamped


class StageTimes(msgspec.Struct, frozen=True):
    """Percentiles of one stage over the interval, at most the last 1,024 frames."""

    p50: float
    p90: float
    p99: float
    max: float


class Frames(msgspec.Struct, frozen=True, kw_only=True):
    """The frames of the interval, and of the run."""

    interval_s: float
    fps: float
    frames_total: int
    dropped_total: int
    corrupt_total: int
    camera_problem: bool = False
    stages_ms: dict[str, StageTimes]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The process and the machine, now; None is what the machine does not have.

    cpu_share       of one core, since the reading before; None at the first
    throttled_bits  as the firmware reports them (get_throttled)
    """

    rss_bytes: int | None
    pss_bytes: int | None
    cpu_share: float | None
    temperature_celsius: float | None
    cpu_clock_hz: int | None
    throttled_bits: int | None
    load_1m: float | None


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What has been counted since the start, and what waits."""

    uptime_s: float
    unsent_total: int
    spooled: int
    spool_failures_total: int
    reconnects_total: int
    requests_total: int = 0
    reopens_total: int = 0
    invalid_scores_total: int = 0
    second_model_total: int = 0


class PlugFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Gates and observers that are configured.

    skipped_total  reason -> frames that were not classified
    failed         those that were switched off by an error
    """

    skipped_total: dict[str, int]
    failed: tuple[str, ...]


class DriftFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the model sees, compared with what it was taught.

    origin         of the taught ranges: the model's bundle, or this device; learning: not yet known
    learnt_share   of what this device needs to know them
    reason         why pictures or scores are others, in words; empty while they are not
    since_s        how long that has lasted; null while it does not
    psi            figure -> population stability index, of the frames outside the taught range on a
                   side that has a reason; of the window
    samples        frames that were measured since the start
    kept_total     far outside, and asked to be kept
    unsaid_total   beginnings that were no event: the same reason had one shortly before
    """

    origin: Literal["bundle", "device", "learning"]
    learnt_share: float = 1.0
    reason: str = ""
    since_s: float | None = None
    psi: dict[str, float] = {}
    samples: int = 0
    kept_total: int = 0
    unsaid_total: int = 0


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How often a shadow agrees with the model at work, on sampled frames.

    frames             compared
    agreement          share of them with the same best label; null without any
    smoothed_frames    those on which both windows were full
    smoothed_agreement  share of these with the same smoothed label, or none on both sides
    """

    frames: int
    agreement: Share | None
    smoothed_frames: int
    smoothed_agreement: Share | None


class ShadowFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate model beside the one at work.

    model          its name and version; while it is loaded, what the config or a request says
    state          at_work: it has become the model at work
    reason         why it failed, or why there is nothing to compare
    running_s      since it works
    frames_total   that it has classified
    invalid_total  of those, without scores
    cpu_share      of one core that it has taken, its share of the loop's thread included
    time_ms        for a frame, in a thread of its own; the last 1,024
    memory_bytes   by which the process has grown with it, about
    hour, day      of the last hour and day; total: of all that it has classified
    confusion      best label at work -> the shadow's -> frames; the most frequent pairs
    confusion_left_out  frames of the other pairs
    kept_total     frames that were asked to be kept as cases
    """

    model: str
    state: Literal["loading", "working", "failed", "at_work"]
    reason: str = ""
    running_s: float = 0.0
    frames_total: int = 0
    invalid_total: int = 0
    cpu_share: float | None = None
    time_ms: StageTimes | None = None
    memory_bytes: int | None = None
    hour: Agreement | None = None
    day: Agreement | None = None
    total: Agreement | None = None
    confusion: dict[str, dict[str, int]] = {}
    confusion_left_out: int = 0
    kept_total: int = 0


class CasesFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Frames that are kept as pictures; totals are since the plug was made.

    kept_total        reason -> cases
    duplicates_total  frames that looked like a case there is
    limited_total     frames with a reason that ``interval_s`` or ``per_hour`` left out
    missed_total      the same, while one was being written, or the disk did not take any
    dropped_total     unsorted cases that were dropped for newer ones
    errors_total      pictures that could not be written
    unsorted, sorted, bytes   what there is
    """

    kept_total: dict[str, int]
    duplicates_total: int
    limited_total: int
    missed_total: int
    dropped_total: int
    errors_total: int
    unsorted: int
    sorted: int
    bytes: int


PARTS: Final[dict[str, Any]] = {
    "plugs": PlugFigures,
    "governor": GovernorFigures,
    "motion": MotionFigures,
    "drift": DriftFigures,
    "shadow": ShadowFigures,
    "cases": CasesFigures,
}
"""Name of an observer -> its part. ``plugs`` is there with any of them."""
FIELDS: Final = frozenset(
    ("plugs", *(key for part in (Stamped, Frames, Health, Totals) for key in part.__annotations__))
)
"""Names that no observer has."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One telemetry message, but for its stamp. parts: by name, of the plugs that have one."""

    frames: Frames
    health: Health
    totals: Totals
    parts: Mapping[str, object] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """Return the fields as they are published, in their order."""
        core = map(msgspec.structs.asdict, (self.frames, self.health, self.totals))
        return {**next(core), **next(core), **next(core), **self.parts}


DOC: Final = """How the daemon and its machine are. What the machine does not have is null.

stages_ms          capture_wait, preprocess, invoke, smooth, publish; pipeline is from
                   preprocess to publish, overhead that less invoke, latency from capture to
                   hand-off
frames_total, dropped_total, corrupt_total   since the start
cpu_share          of one core
throttled_bits     the firmware's get_throttled
camera_problem     no frame came in the interval
reopens_total      tries to bring a camera back
invalid_scores_total  frames for which the model gave no probabilities; they change nothing
second_model_total frames for which the second model was asked
unsent_total       messages that nobody will get
spooled            events that wait for the broker
spool_failures_total  events that the disk did not take; they wait in memory
requests_total     requests that came, answered or not
"""


def telemetry(parts: Mapping[str, Any] = PARTS) -> type[Stamped]:
    """Return the payload with these parts."""
    return stamped("Telemetry", DOC, Frames, Health, Totals, **parts)


Telemetry = telemetry()
"""The payload of ``telemetry``."""
