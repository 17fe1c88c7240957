"""Which event a change of the camera is; how events are logged: level and stage."""

from __future__ import annotations

import logging
from typing import Final

from edge.camera.reconnect import Change
from edge.contract import EventType

Evidence = dict[str, float | int | str]

log = logging.getLogger(__name__)

STAGES: Final = {
    "label": "smoothing",
    "scores": "smoothing",
    "camera": "camera",
    "frames": "camera",
}
"""First word of an event -> the stage it comes from; the others: control."""
WARNINGS: Final = (
    *("camera_changed", "camera_lost", "camera_stalled", "frames_corrupt"),
    "scores_invalid",
)
ERRORS: Final = ("camera_failed", "reload_failed", "duplicate_id")


def write(type: EventType, line: str) -> None:
    """Log ``line`` about an event."""
    tell = log.error if type in ERRORS else log.warning if type in WARNINGS else log.info
    tell("%s", line, extra={"event": type, "stage": STAGES.get(type.split("_")[0], "control")})


def camera(change: Change, frame: int) -> tuple[EventType, str, Evidence]:
    """Return the event that a change of the camera is: type, line for the log, evidence.

    frame  number of the last one that came
    """
    error = change.error
    evidence: Evidence = {"outage_s": change.outage_s, "reopens": change.reopens}
    if error is None:
        line = f"camera is back after {change.outage_s:.1f} s, {change.reopens} tries"
        return "camera_recovered", line, evidence
    evidence |= {"reason": error.reason, "error": str(error), "frame": frame}
    if change.state == "online":
        return "camera_changed", f"camera: {error}", evidence
    if change.state == "failed":
        return "camera_failed", f"camera has failed: {error}", evidence
    stalled = error.reason == "stalled"
    return ("camera_stalled" if stalled else "camera_lost"), f"camera: {error}", evidence
