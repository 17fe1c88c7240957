"""The command line on a Pi whose kernel and firmware are files of the test, in EDGE_TEST_SYS.

They are read every 20 ms, and the governor decides as fast, so that no test waits for seconds.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from edge.__main__ import leave
from edge.daemon import adapting, compose, throttled
from edge.gates import governor, share
from edge.telemetry import Firmware, Thermometer

if __name__ == "__main__":
    room: Any = compose
    room.Firmware = partial(Firmware, Path(os.environ["EDGE_TEST_SYS"]))
    pace: Any = throttled
    pace.EVERY_S = 0.02
    place: Any = adapting
    place.Firmware = room.Firmware
    place.Thermometer = partial(Thermometer, Path(os.environ["EDGE_TEST_SYS"]))
    gate: Any = governor
    gate.EVERY_S, gate.QUIET_S = 0.02, 1.0
    steps: Any = share
    steps.LOWER_S = steps.RAISE_S = 0.02
    leave()
