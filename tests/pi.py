"""The command line on a Pi whose firmware is a file of the test: EDGE_TEST_SYS is its ``/sys``.

It is read every 20 ms, so that no test waits for seconds.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from edge.__main__ import leave
from edge.daemon import compose, throttled
from edge.telemetry import Firmware

if __name__ == "__main__":
    room: Any = compose
    room.Firmware = partial(Firmware, Path(os.environ["EDGE_TEST_SYS"]))
    pace: Any = throttled
    pace.EVERY_S = 0.02
    leave()
