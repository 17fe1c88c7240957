"""When to give up on a camera; records of state changes. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from edge.errors import CameraError
from edge.frames import Seconds

State = Literal["online", "recovering", "failed"]
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 15.0
STEADY_S: Final = 60.0
"""After so long with frames, the next loss counts as the first."""
STUCK_S: Final = 60.0
"""A driver's call that takes so much longer than it may will never return."""
SLOW_FRAMES: Final = 3
"""Frame intervals of a slow camera that do not count as silence."""
RECORDED: Final = ("file", "images", "recording")
"""Drivers of recorded sources: never silent, and an error in one is permanent."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When to give up.

    required         give up in the end; and at once where the first try fails
    stall_timeout_s  without a frame for so long, the camera is lost
    max_reopens      tries without success, or within ``reopen_window_s``, after which it has failed
    """

    required: bool = True
    stall_timeout_s: Seconds = 10.0
    max_reopens: int = 10
    reopen_window_s: Seconds = 300.0

    def silence_s(self, fps: float) -> Seconds:
        """Return how long a camera of ``fps`` frames a second (0: unknown) may be silent."""
        return max(self.stall_timeout_s, SLOW_FRAMES / fps if fps > 0 else 0.0)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of state to report.

    state     the current one
    error     why it is not ``online``; if it is, what changed
    outage_s  time since the last frame
    reopens   tries since then
    news      an event; else only the reason changed, not the state
    """

    state: State
    error: CameraError | None
    outage_s: Seconds
    reopens: int
    news: bool = True


def wait_s(losses: int, chance: float) -> Seconds:
    """Return how long to wait after so many losses in a row: twice as long each time.

    Half of it is left to ``chance``, 0 to 1: a fleet whose server was away must not come back
    all at once.
    """
    longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(losses, 10))
    return longest * (0.5 + 0.5 * chance)


def given_up(error: CameraError, tries: int) -> CameraError:
    """Return the error for a camera that failed with ``error`` after so many tries."""
    return CameraError(
        f"given up after {tries} tries",
        reason=error.reason,
        where=error.where,
        got=error.what,
        hint=error.hint,
    )


def stuck(lasts_s: Seconds) -> CameraError:
    """Return the error for a driver's call that does not return."""
    return CameraError(
        f"its driver has not answered for {lasts_s:.0f} s",
        reason="stalled",
        hint="a restart may help; if not, power the camera off and on",
    )
