"""When the next frame of a recorded or made-up source is due; knows no source.

Runs on the caller's thread. Latest wins: frames whose time has passed are skipped.
"""

from __future__ import annotations

import time

from edge.types import Seconds


class Pace:
    """Deals out frame numbers, in real time or as fast as they are asked for.

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

        A number that is not the one after the last means that frames were skipped.
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
