"""Decides when the next frame of a recorded or synthetic source is due; knows no source.

Runs on the caller's thread. Latest wins: frames whose time has passed are skipped.
"""

from __future__ import annotations

import time
from typing import Final

from edge.frames import Seconds

SHORTEST_S: Final = 0.001
LONGEST_S: Final = 10.0
"""Longest time for a frame of a film: its timestamps may jump by a day."""


class Pace:
    """Numbers frames in real time, or as fast as they are read.

    fps   frames a second
    fast  every frame at once, none skipped
    """

    def __init__(self, fps: float, fast: bool) -> None:
        self._period_ns = round(1e9 / fps)
        self._fast = fast
        self._start_ns = time.monotonic_ns()
        self._next = 0

    def wait(self, timeout_s: Seconds) -> tuple[int, int] | None:
        """Return the number of the frame now due and its time, or None after ``timeout_s``.

        A gap in the numbers means that frames were skipped.
        """
        now = time.monotonic_ns()
        if self._fast:
            number, due_ns = self._next, now
        else:
            number = max(self._next, (now - self._start_ns) // self._period_ns)
            due_ns = self._start_ns + number * self._period_ns
            if due_ns - now > timeout_s * 1e9:
                time.sleep(timeout_s)
                return None
            if due_ns > now:
                time.sleep((due_ns - now) / 1e9)
        self._next = number + 1
        return number, due_ns


class Steps:
    """Turns the timestamps of a film into the time from each frame to the next; reads no clock.

    If two timestamps give no step (missing, the same, backwards, a jump, not a number), the step
    before them counts, but no longer than the usual one.
    fps  frames a second, as far as is known: the usual step
    """

    def __init__(self, fps: float) -> None:
        self.usual_s = min(1 / fps, LONGEST_S)
        self._step_s = self.usual_s
        self._before_ms: float | None = None

    def to(self, position_ms: float) -> Seconds:
        """Return the seconds from the frame before to the one at ``position_ms``."""
        step_s = self.usual_s if self._before_ms is None else (position_ms - self._before_ms) / 1e3
        self._before_ms = position_ms
        if SHORTEST_S <= step_s <= LONGEST_S:
            self._step_s = step_s
        else:
            self._step_s = min(self._step_s, self.usual_s)
        return self._step_s

    def begin_again(self) -> None:
        """Expect the first frame of the film after its last."""
        self._before_ms = None
