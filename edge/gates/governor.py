"""The governor: skips a share of the frames while it is hot, or while a CPU budget is exceeded.

What it decides is in share.py. It says so in an event when it begins, for each further reason, and
when it has ended: when all frames have been classified for a quiet time, a minute, twice as long
each time that it begins again within an hour, so that a limit which is just reached is no flood.

It is an observer too, for its figures alone. Runs on the loop's thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

from edge.config import AdaptiveConfig
from edge.contract import EventType, Evidence, GovernorFigures
from edge.frames import Classified, Frame, Seconds
from edge.gates.share import Reading, Share

log = logging.getLogger(__name__)

GOVERNED: Final = "governed"
"""The reason in telemetry."""
EVERY_S: Final = 2.0
"""Between two readings."""
QUIET_S: Final = 60.0
QUIET_MAX_S: Final = 3600.0
BLIND_S: Final = 10.0
"""Without a temperature for so long, from the start, it is reported that the limit does nothing."""


class EventLog(Protocol):
    """Logs and publishes events."""

    def add(self, type: EventType, line: str, **evidence: float | int | str) -> None:
        """Log ``line`` and publish the event."""


class Governor:
    """Gate and observer. Without a limit it is not there.

    read    returns what the machine says of itself now
    ends    whether nobody governs any more once this one is closed
    before  the one that this one replaces: it goes on where that one is
    """

    name = "governor"

    def __init__(
        self,
        config: AdaptiveConfig,
        read: Callable[[], Reading],
        events: EventLog,
        ends: Callable[[], bool],
        before: Governor | None = None,
        clock: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        self._read, self._events, self._ends, self._clock = read, events, ends, clock
        self._min_fps = config.min_fps
        self.share: Share = Share(
            config.max_celsius, config.cpu_share, before.share if before else None
        )
        self._began_s = self._read_s = clock()
        self._frames, self._least, self._credit = 0, 1.0, 0.0
        self._blind_said = False
        self._skipped_total: int = before._skipped_total if before else 0
        self._said: set[str] = set(before._said) if before else set()
        self._quiet_s: Seconds = before._quiet_s if before else QUIET_S
        self._full_s: Seconds | None = None
        self._ended_s: Seconds | None = before._ended_s if before else None

    def skip(self, frame: Frame) -> str:
        """Return GOVERNED for the share of the frames that are not to be classified."""
        self._frames += 1
        if self.share.now >= 1:
            return ""
        self._credit += self.share.now
        if self._credit >= 1:
            self._credit -= 1
            return ""
        self._skipped_total += 1
        return GOVERNED

    def classified(self, seen: Classified) -> None:
        """Nothing: it counts frames, not what they show."""

    def tick(self) -> None:
        """Read the machine if that is due, and decide."""
        now_s = self._clock()
        if now_s - self._read_s < EVERY_S:
            return
        fps = self._frames / (now_s - self._read_s)
        self._frames, self._read_s = 0, now_s
        if fps:
            self._least = min(1.0, self._min_fps / fps)
        reading = self._read()
        self.share.update(reading, self._least, now_s)
        self._report_blind(reading, now_s)
        self._report(reading, now_s)

    def figures(self) -> GovernorFigures:
        """Return its part of telemetry."""
        share, cpu = self.share, self.share.cpu
        return GovernorFigures(
            frames_share=round(share.now, 3),
            reason=share.reason,
            lowest=share.now < 1 and share.now <= self._least,
            machine_cpu_share=None if cpu is None else round(cpu, 4),
            skipped_total=self._skipped_total,
        )

    def close(self) -> None:
        """End what has begun as an event, if nobody goes on with it."""
        if self._said and self._ends():
            self._end("it is switched off", self._clock())

    def _report(self, reading: Reading, now_s: Seconds) -> None:
        share = self.share
        if share.now < 1:
            self._full_s = None
            if share.reason and share.reason not in self._said:
                if not self._said:
                    self._begin(now_s)
                self._said.add(share.reason)
                self._lowered(reading)
        elif self._said:
            self._full_s = now_s if self._full_s is None else self._full_s
            if now_s - self._full_s >= self._quiet_s:
                self._end("all of them", now_s)

    def _begin(self, now_s: Seconds) -> None:
        again = self._ended_s is not None and now_s - self._ended_s < QUIET_MAX_S
        self._quiet_s = min(2 * self._quiet_s, QUIET_MAX_S) if again else QUIET_S

    def _lowered(self, reading: Reading) -> None:
        share = self.share
        evidence: Evidence = {"reason": share.reason, "frames_share": round(share.now, 3)}
        if share.reason == "cpu" and share.cpu is not None:
            why = f"{share.cpu:.0%} of the CPU, limit {share.limit_cpu:.0%}"
            evidence |= {"cpu_share": round(share.cpu, 4), "limit_cpu_share": share.limit_cpu}
        elif share.reason == "throttled":
            bits = reading.throttled_bits or 0
            why = f"the firmware throttles (get_throttled 0x{bits:x})"
            evidence["throttled_bits"] = bits
        else:
            celsius = share.celsius if share.celsius is not None else share.limit_celsius
            why = f"{celsius:.1f} °C, limit {share.limit_celsius:g} °C"
            evidence |= {"temperature_celsius": celsius, "limit_celsius": share.limit_celsius}
        self._events.add(
            "rate_lowered", f"frames that are classified: {share.now:.0%}, {why}", **evidence
        )

    def _end(self, why: str, now_s: Seconds) -> None:
        reasons = ", ".join(sorted(self._said))
        self._said, self._ended_s = set(), now_s
        line = f"frames that are classified: {why}; the reason was {reasons}"
        self._events.add("rate_restored", line, reasons=reasons)

    def _report_blind(self, reading: Reading, now_s: Seconds) -> None:
        """Log once that there is no temperature to govern by."""
        if not self.share.limit_celsius or self._blind_said:
            return
        if self.share.celsius is not None:
            self._blind_said = True
        elif now_s - self._began_s >= BLIND_S:
            self._blind_said = True
            got = "none" if reading.celsius is None else f"{reading.celsius:g} °C"
            text = "adaptive.max_celsius does nothing: the machine shows no temperature, got %s"
            log.warning(text, got, extra={"stage": "governor"})
