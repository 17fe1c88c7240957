"""Decides when the firmware's throttling begins and ends. Pure: bits and time are given.

Rule 1: it begins with the first reading that has a reason, and again for each further reason, once
        in an episode.
Rule 2: it ends once no reading has had a reason for a quiet time: a minute, twice as long each time
        that an episode begins within an hour of the last one, an hour at most. A bit that flickers
        gives five changes in an hour in the long run.
Rule 3: what the firmware has seen between two readings counts as seen in the second; what it had
        seen before the first does not.

Source: the Raspberry Pi documentation of `vcgencmd get_throttled`: bits 0 to 3 are now, 16 to 19
        the same since boot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge.frames import Seconds

REASONS: Final = ("under_voltage", "frequency_capped", "throttled", "soft_temperature_limit")
"""By bit."""
QUIET_S: Final = 60.0
QUIET_MAX_S: Final = 3600.0
_NOW: Final = 0xF
_SINCE_BOOT: Final = 16


@dataclass(frozen=True, slots=True)
class Throttled:
    """Throttling has begun, or has a further reason; or it has ended.

    reasons     the new ones; at the end, all of the episode
    duration_s  from the first to the last reading with a reason; 0 at the beginning
    """

    ended: bool
    reasons: tuple[str, ...]
    duration_s: Seconds = 0.0


class Throttling:
    """One machine's throttling. Its firmware is read every few seconds."""

    def __init__(self) -> None:
        self._since_boot: int | None = None
        self._reasons = 0  # bits of this episode; 0 between two
        self._first_s = self._last_s = 0.0  # readings with a reason
        self._quiet_s = QUIET_S
        self._ended_s: Seconds | None = None

    def update(self, bits: int, now_s: Seconds) -> Throttled | None:
        """Return what has changed with this reading of get_throttled, None where nothing has."""
        since_boot = bits >> _SINCE_BOOT & _NOW
        new = since_boot & ~self._since_boot if self._since_boot is not None else 0
        self._since_boot = since_boot
        seen = bits & _NOW | new
        if not seen:
            return self._quiet(now_s)
        if not self._reasons:
            self._begin(now_s)
        self._last_s = now_s
        further, self._reasons = seen & ~self._reasons, self._reasons | seen
        return Throttled(False, _words(further)) if further else None

    def _begin(self, now_s: Seconds) -> None:
        again = self._ended_s is not None and now_s - self._ended_s < QUIET_MAX_S
        self._quiet_s = min(2 * self._quiet_s, QUIET_MAX_S) if again else QUIET_S
        self._first_s = now_s

    def _quiet(self, now_s: Seconds) -> Throttled | None:
        if not self._reasons or now_s - self._last_s < self._quiet_s:
            return None
        reasons, self._reasons, self._ended_s = self._reasons, 0, now_s
        return Throttled(True, _words(reasons), self._last_s - self._first_s)


def _words(bits: int) -> tuple[str, ...]:
    return tuple(word for bit, word in enumerate(REASONS) if bits >> bit & 1)
