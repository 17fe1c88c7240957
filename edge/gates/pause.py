"""The gate that a `pause` request closes. It is there only while it skips frames."""

from __future__ import annotations

from edge.frames import Frame, Seconds


class PauseGate:
    """Skips every frame. until_s: when it is over, as ``time.monotonic`` counts."""

    name = "pause"

    def __init__(self, until_s: Seconds = float("inf")) -> None:
        self._until_s = until_s

    def skip(self, frame: Frame) -> str:
        """Return the reason, whatever the frame."""
        return "paused"

    def over(self, now_s: Seconds) -> bool:
        """Return whether it has lasted as long as it was to."""
        return now_s >= self._until_s
