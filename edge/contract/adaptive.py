"""The parts of ``telemetry`` that the gates of [adaptive] give. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from edge.contract.payloads import Share


class MotionFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The motion gate.

    closed            the newest frame was skipped
    skipped_share     of the frames of the last minute, about
    skipped_total     since the gate was made
    classified_total  why -> frames that it let pass: first (there is nothing to compare with),
                      motion, light, settling (the label or the window is not at rest), time
                      (max_skip_s)
    noise             of one sample, levels of 0 to 255
    """

    closed: bool
    skipped_share: Share
    skipped_total: int
    classified_total: dict[str, int]
    noise: float


class GovernorFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The governor.

    frames_share   of the camera's frames, that it lets pass; 1: all
    reason         why not all; empty where all pass
    lowest         adaptive.min_fps forbids less
    machine_cpu_share  of all cores, used by this process since the share has changed
    skipped_total  frames
    """

    frames_share: Share
    reason: Literal["", "temperature", "throttled", "cpu"]
    lowest: bool
    machine_cpu_share: float | None
    skipped_total: int
