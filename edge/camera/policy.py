"""What is put up with from a camera, and what is told of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from edge.errors import CameraError
from edge.frames import Seconds

State = Literal["online", "recovering", "failed"]
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 15.0
STEADY_S: Final = 60.0
"""So long with frames, and the next loss counts as the first."""
SLOW_FRAMES: Final = 3
"""Intervals of a slow camera that are no silence."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When to give up.

    required         give up in the end; and at once where the first try fails
    stall_timeout_s  no frame for so long: it has gone
    max_reopens      tries without success, or in ``reopen_window_s``, after which it has failed
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
    """Something to be told.

    state     the one it is in now
    error     why it is not ``online``; of one that is, what is different now
    outage_s  since the last frame
    reopens   tries since then
    news      an event; else the state is as it was, with another reason
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
