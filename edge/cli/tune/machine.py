"""What makes figures of a machine say little: load, another daemon, throttling, a slow clock.

Both roots are parameters. Reads only.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from edge.cli.tune.records import Measurement
from edge.telemetry import Firmware
from edge.telemetry.throttling import REASONS
from edge.text import escaped

PROC: Final = Path("/proc")
SYS: Final = Path("/sys")
BUSY: Final = 0.25
"""Load average of a minute for each core, above which a machine is busy."""
OTHERS_MOST: Final = 0.1
"""Share of all cores that other processes may use while a candidate is measured."""
ARGUMENTS_BYTES: Final = 4096


def warnings(proc: Path = PROC, sys: Path = SYS) -> list[str]:
    """Return why the figures would say little, a line for each reason."""
    found = []
    load, cores = _text(proc / "loadavg").split(), os.cpu_count() or 1
    if load and float(load[0]) > BUSY * cores:
        found.append(f"the machine is busy: load {load[0]} on {cores} cores")
    if running := daemons(proc):
        numbers = ", ".join(map(str, running))
        found.append(f"a daemon is running (process {numbers}): stop it first, if you can")
    bits = Firmware(sys).throttled_bits() or 0
    if reasons := [word for bit, word in enumerate(REASONS) if bits >> bit & 1]:
        found.append(f"the firmware slows the processor down: {', '.join(reasons)}")
    files = sys.glob("devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
    if slow := sorted({_text(file) for file in files} - {"performance", ""}):
        names = escaped(", ".join(slow), 80)
        found.append(f"the CPU governor is {names}, not performance: the clock changes with load")
    return found


def daemons(proc: Path = PROC) -> list[int]:
    """Return the numbers of processes that are `edge run`."""
    found = []
    for folder in proc.glob("[0-9]*"):
        try:
            with (folder / "cmdline").open("rb") as stream:
                arguments = stream.read(ARGUMENTS_BYTES).split(b"\0")
        except OSError:  # it has ended, or it is hidden
            continue
        for before, after in pairwise(arguments):
            if after == b"run" and before.rpartition(b"/")[2] == b"edge":
                found.append(int(folder.name))
                break
    return sorted(found)


def others(rows: Sequence[Measurement]) -> str:
    """Return a warning where other processes were at work during the runs; empty where not."""
    shares = [share for row in rows if (share := row.median(lambda run: run.others_share))]
    share = statistics.median(shares) if shares else 0.0
    return f"other processes used {share:.0%} of all cores meanwhile" if share > OTHERS_MOST else ""


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
