"""Makes the gates of [adaptive]; gives the governor the machine's readings.

A reload or a `set` request makes every plug again: the new governor goes on where the one before
is, so that a hot machine does not begin at full rate.
"""

from __future__ import annotations

import os
import time

from edge.config import Config
from edge.daemon.run import Run
from edge.gates.governor import EventLog, Governor
from edge.gates.motion import MotionGate
from edge.gates.share import Reading
from edge.model.engine import Engine
from edge.telemetry import Firmware, Thermometer


class Adapting:
    """The gates of one run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._thermometer, self._firmware = Thermometer(), Firmware()
        self._cores = os.cpu_count() or 1
        self._read_ns: tuple[int, int] | None = None  # wall and CPU time of the last reading
        self._at_work: Governor | None = None  # which has read, so that it was not only prepared

    def motion(self, config: Config, engine: Engine) -> MotionGate | None:
        """Return the motion gate for a config and a model; None where it is off."""
        if not config.adaptive.motion:
            return None
        run = self._run
        return MotionGate(config.adaptive, engine.card.labels, lambda: run.smoother)

    def governor(self, config: Config, events: EventLog) -> Governor | None:
        """Return the governor for a config; None where it has no limit."""
        if not config.adaptive.governs:
            return None
        made = Governor(
            config.adaptive,
            lambda: self._read(made),
            events,
            lambda: not self._run.config.adaptive.governs,
            self._at_work if self._run.config.adaptive.governs else None,
        )
        return made

    def _read(self, governor: Governor) -> Reading:
        self._at_work = governor
        before, now_ns = self._read_ns, (time.monotonic_ns(), time.process_time_ns())
        self._read_ns, cpu = now_ns, None
        if before is not None and now_ns[0] > before[0]:
            cpu = (now_ns[1] - before[1]) / (now_ns[0] - before[0]) / self._cores
        return Reading(self._thermometer.celsius(), self._firmware.throttled_bits(), cpu)
