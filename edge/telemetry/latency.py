"""Latency rings, one for each stage, and their percentiles.

Every ring is bounded; when it is full, the newest duration replaces the oldest. Runs on the
caller's thread.
"""

from __future__ import annotations

from array import array
from typing import Final

import numpy as np

from edge.contract import StageTimes
from edge.frames import FrameTimes

PERCENTILES: Final = (50, 90, 99, 100)
"""Of StageTimes: p50, p90, p99, max."""


class LatencyRing:
    """The last ``size`` durations of one stage, preallocated."""

    def __init__(self, size: int = 1024) -> None:
        self._values, self._size = array("q", bytes(8 * size)), size  # faster to write than NumPy's
        self.count = 0

    def add(self, duration_ns: int) -> None:
        """Keep one duration."""
        self._values[self.count % self._size] = duration_ns
        self.count += 1

    def clear(self) -> None:
        """Forget all durations."""
        self.count = 0

    def percentiles_ns(self) -> tuple[int, ...]:
        """Return p50, p90, p99 and the largest of what is in the ring, which is not empty."""
        held = np.frombuffer(self._values, np.int64)[: min(self.count, self._size)]
        ordered = np.sort(held)  # np.percentile would import numpy.ma
        last = len(ordered) - 1
        return tuple(int(ordered[-(-last * percentile // 100)]) for percentile in PERCENTILES)


class Stages:
    """A latency ring for every stage of a frame.

    pipeline  from preprocess to publish; gates and other observers are not in it
    overhead  the same without invoke
    latency   from capture to hand-off: the end of publish
    """

    NAMES: Final = (
        *("capture_wait", "preprocess", "invoke", "smooth", "publish"),
        *("pipeline", "overhead", "latency"),
    )

    def __init__(self, size: int = 1024) -> None:
        self._size = size
        self._rings = {name: LatencyRing(size) for name in self.NAMES}
        self._frame = tuple(self._rings.values())

    def ring(self, plug: str) -> LatencyRing:
        """Return the ring of a gate or an observer, a stage of its own. Raises ValueError."""
        if plug in self.NAMES:
            raise ValueError(f"{plug} is a stage of the pipeline: a plug needs another name")
        return self._rings.setdefault(plug, LatencyRing(self._size))

    def add(self, wait_ns: int, times: FrameTimes, publish_ns: int, latency_ns: int) -> None:
        """Keep one frame's times."""
        preprocess_ns, invoke_ns, smooth_ns = times
        overhead_ns = preprocess_ns + smooth_ns + publish_ns
        wait, preprocess, invoke, smooth, publish, pipeline, overhead, latency = self._frame
        wait.add(wait_ns)
        preprocess.add(preprocess_ns)
        invoke.add(invoke_ns)
        smooth.add(smooth_ns)
        publish.add(publish_ns)
        pipeline.add(overhead_ns + invoke_ns)
        overhead.add(overhead_ns)
        latency.add(latency_ns)

    def clear(self) -> None:
        """Begin a new interval."""
        for ring in self._rings.values():
            ring.clear()

    def percentiles_ms(self) -> dict[str, StageTimes]:
        """Return the percentiles of every stage that ran, in milliseconds."""
        return {name: percentiles_ms(ring) for name, ring in self._rings.items() if ring.count}


def percentiles_ms(ring: LatencyRing) -> StageTimes:
    """Return a ring's percentiles in milliseconds; it is not empty."""
    return StageTimes(*(round(ns / 1e6, 3) for ns in ring.percentiles_ns()))
