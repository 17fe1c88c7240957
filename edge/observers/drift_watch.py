"""The figures of one model's frames, compared with what it was taught. Pure.

Light, focus and colours have a window of their own; scores and features, which depend on what
there is to see, one that is six times as long. While the light drifts, they are left out of it:
they only follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.baseline import FIGURES, OF_PICTURES, OF_SCORES, Baseline, distances
from edge.contract import Evidence
from edge.observers.drift_window import Range, Window

Floats = NDArray[np.float32]

PICTURES: Final = len(OF_PICTURES)
PLAIN: Final = PICTURES + len(OF_SCORES)
"""Figures without that of the features."""
LONGER: Final = 6
FARTHEST: Final = 1e6
"""Distance; JSON has no infinite ones."""
FAR: Final = 0.5
"""Share of the taught range; a picture so far outside it is strange by itself."""


class Watch:
    """Compares with ``taught``."""

    def __init__(self, taught: Baseline) -> None:
        self.taught = taught
        edges, outside = taught.edges, taught.shares[:, [0, -1]]
        self._low, self._high = edges[:, 0], edges[:, -1]
        self._light = Window(Range(self._low[:PICTURES], self._high[:PICTURES], outside[:PICTURES]))
        self._content = Window(
            Range(self._low[PICTURES:], self._high[PICTURES:], outside[PICTURES:])
        )
        self._figures = FIGURES[: len(edges)]
        self._sides = [
            (row, side, reason)
            for row, figure in enumerate(self._figures)
            for side, reason in enumerate((figure.low, figure.high))
            if reason
        ]
        self._far = np.full((2, len(edges)), np.inf, np.float32)
        for row, side, _ in self._sides:
            if not PICTURES <= row < PLAIN:  # unsure scores are no sign of a strange picture
                self._far[side, row] = FAR * (self._high[row] - self._low[row])
        self._values = np.zeros(len(edges), np.float32)
        self._psi = np.zeros((len(edges), 2))
        self._added = 0

    def clear(self) -> None:
        """Forget the samples."""
        self._light.clear()
        self._content.clear()

    def add(self, figures: Floats, features: Floats | None, follows: bool) -> None:
        """Take one sample: (8,), and (F,) where the baseline has a mean of them.

        follows  the light drifts
        """
        values, taught = self._values, self.taught
        values[:PLAIN] = figures
        if taught.mean is not None and taught.std is not None and features is not None:
            values[PLAIN] = min(float(distances(features, taught.mean, taught.std)), FARTHEST)
        self._light.add(values[:PICTURES])
        if self._light.ready:
            self._psi[:PICTURES] = self._light.psi()
        self._added += 1
        if self._added % LONGER == 0 and not follows:
            self._content.add(values[PICTURES:])
            if self._content.ready:
                self._psi[PICTURES:] = self._content.psi()

    def is_far(self) -> bool:
        """Return whether the newest sample is far from anything that was taught."""
        values, (below, above) = self._values, self._far
        return bool(((self._low - values > below) | (values - self._high > above)).any())

    def psi(self) -> dict[str, float]:
        """Return figure -> index, of windows with enough samples."""
        found: dict[str, float] = {}
        for row, _, _, value in self._known():
            name = self._figures[row].name
            found[name] = max(round(value, 3), found.get(name, 0.0))
        return found

    def reasons(self) -> dict[str, float]:
        """Return reason -> index, of windows with enough samples."""
        found: dict[str, float] = {}
        for _, _, reason, value in self._known():
            found[reason] = max(value, found.get(reason, 0.0))
        return found

    def evidence(self, reason: str) -> Evidence:
        """Return the figure on which a reason rests, as an event has it; empty where none does."""
        sides = [known for known in self._known() if known[2] == reason]
        if not sides:
            return {}
        row, side, _, value = max(sides, key=lambda known: known[3])
        window, place = (self._light, row) if row < PICTURES else (self._content, row - PICTURES)
        return {
            "figure": self._figures[row].name,
            "now": round(window.median(place), 3),
            "taught_low": round(float(self._low[row]), 3),
            "taught_high": round(float(self._high[row]), 3),
            "outside_share": round(float(window.outside()[place, side]), 3),
            "psi": round(value, 3),
        }

    def _known(self) -> Iterator[tuple[int, int, str, float]]:
        """Yield row, side, reason and index of every side whose window says something."""
        for row, side, reason in self._sides:
            if (self._light if row < PICTURES else self._content).ready:
                yield row, side, reason, float(self._psi[row, side])
