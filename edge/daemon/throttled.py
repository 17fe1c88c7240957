"""Publishes when a Pi's firmware throttles it, and when that ends. On the loop's thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from edge.contract import Evidence
from edge.daemon.events import Events
from edge.frames import Seconds
from edge.telemetry import Firmware, Throttling

EVERY_S: Final = 5.0
"""Between two readings; the firmware remembers what was between them."""


class Throttle:
    """Reads the firmware, and reports its throttling as events."""

    def __init__(
        self, firmware: Firmware, events: Events, clock: Callable[[], Seconds] = time.monotonic
    ) -> None:
        self._firmware, self._events, self._clock = firmware, events, clock
        self._throttling = Throttling()
        self._next_s = clock()

    def tick(self) -> None:
        """Read the firmware if that is due."""
        now_s = self._clock()
        if now_s < self._next_s:
            return
        self._next_s = now_s + EVERY_S
        bits = self._firmware.throttled_bits()
        change = None if bits is None else self._throttling.update(bits, now_s)
        if bits is None or change is None:
            return
        reasons = ", ".join(change.reasons)
        evidence: Evidence = {"reasons": reasons, "throttled_bits": bits}
        if change.ended:
            line = f"the firmware no longer throttles: {reasons} for {change.duration_s:.0f} s"
            evidence["duration_s"] = round(change.duration_s, 1)
            self._events.add("throttling_ended", line, **evidence)
            return
        line = f"the firmware throttles: {reasons} (get_throttled 0x{bits:x}); see `edge doctor`"
        self._events.add("throttled", line, **evidence)
