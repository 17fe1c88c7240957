"""Limits on how often something is done. Pure: time is given."""

from __future__ import annotations

from edge.frames import Seconds


class Rate:
    """A limit of ``per_second`` in the long run, and of as many at once."""

    def __init__(self, per_second: float) -> None:
        self._per_second = self._left = per_second
        self._refilled_s = 0.0

    def take(self, now_s: Seconds) -> bool:
        """Return whether one more is within the limit, and count it."""
        left = self._left + (now_s - self._refilled_s) * self._per_second
        self._left, self._refilled_s = min(self._per_second, left), now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Throttle:
    """An action that may be requested at any time: done at once, then every ``every_s`` at most."""

    def __init__(self, every_s: Seconds) -> None:
        self._every_s, self._requested, self._next_s = every_s, False, 0.0

    def request(self) -> None:
        """Note that it is requested."""
        self._requested = True

    def due(self, now_s: Seconds) -> bool:
        """Return whether to do it now; it counts as done then."""
        if not self._requested or now_s < self._next_s:
            return False
        self._requested, self._next_s = False, now_s + self._every_s
        return True
