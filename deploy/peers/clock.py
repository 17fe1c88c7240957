"""What a repeated piece of work costs the process that does it: CPU, wall time, memory.

For programs that measure one thing in a process of its own. Knows only the standard library, so
that it adds nothing to the memory of what is measured.
"""

from __future__ import annotations

import os
import re
import resource
import time
import tracemalloc
from array import array
from collections.abc import Callable
from typing import Final

WARM: Final = 30
TRACED: Final = 20
"""Turns before the clock starts, and turns whose allocations are traced after it has stopped."""


def measured(work: Callable[[], object], seconds: float) -> dict[str, float]:
    """Return the cost of one turn of ``work``, repeated for ``seconds``.

    cpu_ms          user and system time of all threads, per turn
    p50_ms, p99_ms  wall time of a turn
    faults          pages of memory that the kernel has cleared and mapped for it
    and the memory after the last turn
    """
    for _ in range(WARM):
        work()
    walls, faults = array("q"), -_faults()
    spent_ns, until_ns = time.process_time_ns(), time.monotonic_ns() + int(seconds * 1e9)
    while (begin_ns := time.monotonic_ns()) < until_ns:
        work()
        walls.append(time.monotonic_ns() - begin_ns)
    spent_ns = time.process_time_ns() - spent_ns
    faults += _faults()
    in_order = sorted(walls)
    return {
        "turns": len(in_order),
        "cpu_ms": spent_ns / len(in_order) / 1e6,
        "p50_ms": in_order[len(in_order) // 2] / 1e6,
        "p99_ms": in_order[len(in_order) * 99 // 100] / 1e6,
        "faults": faults / len(in_order),
        **memory(os.getpid()),
    }


def _faults() -> int:
    """Return the faults of this process so far that needed no disk. Source: getrusage(2)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def allocated(work: Callable[[], object]) -> dict[str, float]:
    """Return ``heap_kb``: the most that one turn has allocated at a time. Source: tracemalloc.

    Arrays of NumPy and of OpenCV's Python module are counted, their inner buffers are not.
    """
    peaks = []
    tracemalloc.start()
    try:
        for _ in range(TRACED):
            work()
            tracemalloc.reset_peak()
            held, _ = tracemalloc.get_traced_memory()
            work()
            peaks.append(tracemalloc.get_traced_memory()[1] - held)
    finally:
        tracemalloc.stop()
    return {"heap_kb": sorted(peaks)[len(peaks) // 2] / 1e3}


def memory(process: int) -> dict[str, float]:
    """Return the memory of a process, in MB.

    rss_mb   resident, private and shared
    pss_mb   the same with shared pages divided among those that share them now
    peak_mb  the highest rss_mb so far; ru_maxrss would have that of the parent
    Source: proc(5), /proc/pid/smaps_rollup and status.
    """
    with open(f"/proc/{process}/smaps_rollup") as stream:
        found = dict(re.findall(r"^(Rss|Pss): +(\d+) kB", stream.read(), re.MULTILINE))
    with open(f"/proc/{process}/status") as stream:
        found |= dict(re.findall(r"^(VmHWM):\s+(\d+) kB", stream.read(), re.MULTILINE))
    names = {"rss_mb": "Rss", "pss_mb": "Pss", "peak_mb": "VmHWM"}
    return {name: int(found[field]) * 1024 / 1e6 for name, field in names.items()}


def cpu_s(process: int) -> float:
    """Return the user and system seconds of a process so far, its ended threads included.

    Source: Linux, include/linux/posix-timers.h: the clock of another process, CPUCLOCK_SCHED.
    """
    return time.clock_gettime(~process << 3 | 2)


def children(process: int) -> list[int]:
    """Return the children of a process. Source: proc(5), /proc/pid/task/tid/children."""
    with open(f"/proc/{process}/task/{process}/children") as stream:
        return [int(number) for number in stream.read().split()]
