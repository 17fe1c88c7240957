"""Decides which share of the frames is classified, from temperature, throttling and CPU time.

Rule 1: it is lowered before a limit is reached: the temperature counts as it will be in
        ``HORIZON_S`` if it goes on as it does. Fast: a tenth every ``LOWER_S``, and three tenths
        beyond a limit.
Rule 2: it is raised slowly, a twentieth every ``RAISE_S``, and only well below every limit; in
        between it stays. A step warms a Pi by less than that band is wide, so that there is a
        share that stays.
Rule 3: where it has to be lowered after it was raised, the next raise waits twice as long.
Rule 4: a reading that is missing raises nothing that heat has lowered; one that cannot be true is
        missing.

Pure: readings and time are given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

from edge.frames import Seconds

Reason = Literal["", "temperature", "throttled", "cpu"]

LOWER_S: Final = 4.0
RAISE_S: Final = 20.0
RAISE_MAX_S: Final = 1280.0
LOWER, LOWER_FAST, RAISE = 0.9, 0.7, 0.05
HORIZON_S: Final = 20.0
NEAR, COOL, COLD = 2.0, 6.0, 12.0
"""Kelvin below the limit: the share is lowered from NEAR on, raised below COOL, and below COLD it
need not wait longer than RAISE_S."""
PLAUSIBLE: Final = (-40.0, 130.0)
"""Degrees Celsius that the sensor of a running machine can show."""
READINGS: Final = 8
"""Of the temperature that are kept, for its slope."""
CPU_FREE: Final = 0.85
"""Share of the CPU budget below which the share of frames is raised."""
THROTTLED_NOW: Final = 0xF
"""get_throttled: under-voltage, frequency capped, throttled, soft temperature limit, now."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a machine says of itself; None is what it does not have, or what cannot be read.

    cpu_share  of all cores, that this process has used since the reading before
    """

    celsius: float | None = None
    throttled_bits: int | None = None
    cpu_share: float | None = None


class Share:
    """The share of the frames, and why it is not 1.

    max_celsius, cpu_share  the limits; 0: none
    before  under other limits: this one begins where that one is
    """

    def __init__(self, max_celsius: float, cpu_share: float, before: Share | None = None) -> None:
        self.limit_celsius, self.limit_cpu = max_celsius, cpu_share
        self.now: float = before.now if before else 1.0
        self.reason: Reason = before.reason if before else ""
        self.celsius: float | None = None
        """As it was decided by: the middle one of three readings."""
        self.cpu: float | None = None
        """The mean since the share has changed."""
        self._temperatures: deque[tuple[Seconds, float]] = deque(maxlen=READINGS)
        self._cpu: list[float] = []
        self._throttled = False
        self._changed_s: Seconds | None = None
        self._raised_s: Seconds | None = None
        self._wait_s = RAISE_S

    def update(self, reading: Reading, least: float, now_s: Seconds) -> None:
        """Take a reading. least: the share is not lowered below it."""
        self._take(reading, now_s)
        if self._changed_s is None:
            self._changed_s = now_s
        if self.now < least:  # the camera has become slower
            self.now = least
        since_s = now_s - self._changed_s
        if since_s < LOWER_S:
            return
        factor, reason = self._excess()
        if reason:
            if self.now > least:
                self._lower(max(least, self.now * factor), now_s)
            self.reason = reason
        elif self.now == 1:
            self.reason = ""
        elif since_s >= self._patience_s() and self._is_free():
            self.now = min(1.0, self.now + RAISE)
            self._changed_s = self._raised_s = now_s
            self._cpu.clear()
            if self.now == 1:
                self.reason = ""

    def _lower(self, share: float, now_s: Seconds) -> None:
        if self._raised_s is not None:
            soon = now_s - self._raised_s < 2 * self._wait_s
            self._wait_s = min(RAISE_MAX_S, 2 * self._wait_s) if soon else RAISE_S
            self._raised_s = None
        self.now, self._changed_s = share, now_s
        self._cpu.clear()

    def _take(self, reading: Reading, now_s: Seconds) -> None:
        celsius = reading.celsius
        if celsius is not None and PLAUSIBLE[0] <= celsius <= PLAUSIBLE[1]:
            self._temperatures.append((now_s, celsius))
            self.celsius = _median([value for _, value in list(self._temperatures)[-3:]])
        else:
            self.celsius = None
        self._throttled = bool((reading.throttled_bits or 0) & THROTTLED_NOW)
        if reading.cpu_share is not None and reading.cpu_share >= 0:
            self._cpu.append(reading.cpu_share)
            del self._cpu[:-READINGS]
        self.cpu = _mean(self._cpu) if self._cpu else None

    def _expected(self) -> float | None:
        """Return the temperature in a while if it goes on to rise as it does."""
        if self.celsius is None:
            return None
        kept = list(self._temperatures)
        if len(kept) < READINGS // 2:
            return self.celsius
        half = len(kept) // 2
        (early_s, early), (late_s, late) = (
            (_mean([time for time, _ in part]), _median([value for _, value in part]))
            for part in (kept[:half], kept[half:])
        )
        slope = (late - early) / max(1e-3, late_s - early_s)
        return self.celsius + max(0.0, slope) * HORIZON_S

    def _excess(self) -> tuple[float, Reason]:
        """Return by which factor to lower, and why; an empty reason where that need not be."""
        expected = self._expected()
        if self.limit_celsius and expected is not None:
            if expected >= self.limit_celsius:
                return LOWER_FAST, "temperature"
            if expected >= self.limit_celsius - NEAR:
                return LOWER, "temperature"
        if self.limit_celsius and self._throttled:
            return LOWER_FAST, "throttled"
        if self.limit_cpu and self.cpu is not None and self.cpu > self.limit_cpu:
            return max(LOWER_FAST, 0.97 * self.limit_cpu / self.cpu), "cpu"
        return 1.0, ""

    def _is_free(self) -> bool:
        """Return whether there is room below every limit."""
        if self.limit_celsius:
            expected = self._expected()
            blind = expected is None and self.reason == "temperature"
            if blind or (expected is not None and expected > self.limit_celsius - COOL):
                return False
        return not self.limit_cpu or (
            self.cpu is not None
            and self.cpu < CPU_FREE * self.limit_cpu
            and self.cpu * (self.now + RAISE) / self.now < self.limit_cpu
        )

    def _patience_s(self) -> Seconds:
        expected = self._expected()
        cold = expected is None or expected <= self.limit_celsius - COLD
        return RAISE_S if self.limit_celsius and cold and not self.limit_cpu else self._wait_s


def _mean(values: Collection[float]) -> float:
    return sum(values) / len(values)


def _median(values: Collection[float]) -> float:
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
