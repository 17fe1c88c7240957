"""Events: how each is logged, and that it is published.

The log has every event with its name and its stage; see systemd for how the journal finds it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from edge.camera.reconnect import Change
from edge.contract import EventType, Evidence
from edge.contract.encode import Wire
from edge.messages import Message

log = logging.getLogger(__name__)

STAGES: Final = {
    "label": "smoothing",
    "scores": "smoothing",
    "camera": "camera",
    "frames": "camera",
    "drift": "drift",
    "shadow": "shadow",
    "rate": "governor",
}
"""First word of an event -> the stage it comes from; the others: control."""
WARNINGS: Final = (
    *("camera_changed", "camera_lost", "camera_stalled", "frames_corrupt"),
    *("scores_invalid", "throttled", "drift_began", "shadow_failed"),
    *("rate_lowered", "model_refused"),
)
ERRORS: Final = ("camera_failed", "reload_failed", "duplicate_id")


class Events:
    """Logs events and publishes them."""

    def __init__(self, wire: Wire, publish: Callable[[Message], None]) -> None:
        self._wire, self._publish = wire, publish

    def log(self, type: EventType, line: str) -> None:
        """Log ``line`` as an event's."""
        level = logging.WARNING if type in WARNINGS else logging.INFO
        level = logging.ERROR if type in ERRORS else level
        extra = {"event": type, "stage": STAGES.get(type.split("_")[0], "control")}
        log.log(level, "%s", line, extra=extra)

    def add(self, type: EventType, line: str, **evidence: float | int | str) -> None:
        """Log ``line`` and publish the event."""
        self.log(type, line)
        self._publish(self._wire.event(type, evidence=evidence))

    def plug_failed(self, name: str, exc: Exception) -> None:
        """Log that a gate or an observer has been switched off."""
        text = "%s is switched off until the config is applied again: %s: %s"
        log.error(text, name, type(exc).__name__, exc, exc_info=exc, extra={"stage": name})


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
