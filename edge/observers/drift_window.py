"""The newest samples of some figures, and how many of them are outside what was taught. Pure.

A camera that looks at one scene fills one bin of ten at a time: the usual index over all of them
calls that drift. So each side that has a reason is compared by itself, in two bins: beyond the
taught range, and the rest.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SAMPLES: Final = 300
LEAST: Final = 150
"""Samples; of fewer nothing is said."""
EXPECTED_LEAST: Final = 0.05
"""Share of samples that is expected beyond each side at the least: with the usual limits, 0.25
and 0.1, a drift begins where 22 % of the window are outside, and ends at 14 %."""


class Range(NamedTuple):
    """What was taught of n figures.

    low, high  (n,) ends of the range
    outside    (n, 2) share of the taught values below low, and above high
    """

    low: Floats
    high: Floats
    outside: Floats


class Window:
    """A ring of samples of n figures, preallocated."""

    def __init__(self, taught: Range) -> None:
        self.taught = taught
        self._expected = np.maximum(taught.outside.astype(np.float64), EXPECTED_LEAST)
        self._ring = np.empty((SAMPLES, len(taught.low)), np.float32)
        self._next = self.count = 0

    def add(self, values: Floats) -> None:
        """Take one sample, (n,); the oldest goes."""
        self._ring[self._next] = values
        self._next = (self._next + 1) % SAMPLES
        self.count = min(SAMPLES, self.count + 1)

    def clear(self) -> None:
        """Begin again, empty."""
        self._next = self.count = 0

    @property
    def ready(self) -> bool:
        """Whether there are enough samples to say something."""
        return self.count >= LEAST

    def outside(self) -> NDArray[np.float64]:
        """Return the share of samples beyond each side, (n, 2)."""
        samples = self._ring[: self.count]
        below, above = samples < self.taught.low, samples > self.taught.high
        return np.stack([below.mean(axis=0), above.mean(axis=0)], axis=1)

    def psi(self) -> NDArray[np.float64]:
        """Return the index of each side, (n, 2); 0 where no more than taught are outside."""
        actual = np.maximum(self.outside(), self._expected)
        return index(actual, self._expected)

    def median(self, figure: int) -> float:
        """Return the middle of a figure's samples; np.median would import numpy.ma, in a frame."""
        ordered = np.sort(self._ring[: self.count, figure])
        return float(ordered[(self.count - 1) // 2] + ordered[self.count // 2]) / 2


def index(actual: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the population stability index of shares p and 1 - p against those expected.

    Source: Siddiqi 2006, Credit Risk Scorecards: sum of (a - e) * ln(a / e) over the bins.
    """
    most = 1 - 1e-3  # a bin without a sample has no logarithm
    p, e = np.minimum(actual, most), np.minimum(expected, most)
    return np.asarray((p - e) * (np.log(p / e) - np.log((1 - p) / (1 - e))))
