"""How often a shadow agrees with the model at work, and which labels it confuses with its. Pure.

Labels are compared by their text. Everything is bounded: an hour is sixty counts of a minute, a day
is twenty-four of an hour; of label pairs the first thousand are counted by themselves.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.contract import Agreement
from edge.frames import Seconds

PAIRS_MAX: Final = 1_000
HOUR: Final = (60, 60.0)
DAY: Final = (24, 3600.0)
"""Number of counts, and seconds of each."""

Counts = NDArray[np.int64]
"""(4,): frames, those that agree, frames with both windows full, those that agree smoothed."""


class Rolling:
    """Counts of the last ``number`` spans of ``span_s``; the newest span is not over yet."""

    def __init__(self, number: int, span_s: Seconds) -> None:
        self._rows = np.zeros((number, 4), np.int64)
        self._span_s, self._newest = span_s, 0

    def add(self, counts: Counts, now_s: Seconds) -> None:
        """Count what has come at ``now_s``, which never goes back."""
        self._move(now_s)
        self._rows[self._newest % len(self._rows)] += counts

    def sums(self, now_s: Seconds) -> Counts:
        """Return what came within the time that it covers."""
        self._move(now_s)
        return np.asarray(self._rows.sum(axis=0))

    def _move(self, now_s: Seconds) -> None:
        newest = int(now_s // self._span_s)
        for span in range(max(self._newest + 1, newest - len(self._rows) + 1), newest + 1):
            self._rows[span % len(self._rows)] = 0
        self._newest = newest


class Tally:
    """All counts of one shadow."""

    def __init__(self) -> None:
        self._hour, self._day = Rolling(*HOUR), Rolling(*DAY)
        self._total = np.zeros(4, np.int64)
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._row = np.zeros(4, np.int64)

    def add(
        self,
        at_work: str,
        shadow: str,
        smoothed: tuple[str | None, str | None] | None,
        now_s: float,
    ) -> bool:
        """Count one frame; return whether the best labels agree.

        at_work, shadow  their best labels
        smoothed         their smoothed ones, at work first; None while a window is not full
        """
        agree = at_work == shadow
        smoothed_agree = smoothed is not None and smoothed[0] == smoothed[1]
        self._row[:] = (1, agree, smoothed is not None, smoothed_agree)
        self._hour.add(self._row, now_s)
        self._day.add(self._row, now_s)
        self._total += self._row
        pair = (at_work, shadow)
        if pair in self._pairs or len(self._pairs) < PAIRS_MAX:
            self._pairs[pair] += 1
        return agree

    @property
    def frames(self) -> int:
        """Frames that were compared."""
        return int(self._total[0])

    def hour(self, now_s: float) -> Agreement:
        """Return the agreement of the last hour."""
        return _agreement(self._hour.sums(now_s))

    def day(self, now_s: float) -> Agreement:
        """Return that of the last day."""
        return _agreement(self._day.sums(now_s))

    def total(self) -> Agreement:
        """Return that of all frames."""
        return _agreement(self._total)

    def confusion(self, pairs: int) -> tuple[dict[str, dict[str, int]], int]:
        """Return label at work -> label of the shadow -> frames, and the frames of other pairs.

        pairs  the most frequent ones, so many
        """
        table: dict[str, dict[str, int]] = {}
        left_out = self.frames
        for (at_work, shadow), frames in self._pairs.most_common(pairs):
            table.setdefault(at_work, {})[shadow] = frames
            left_out -= frames
        return table, left_out


def _agreement(counts: Counts) -> Agreement:
    frames, agree, smoothed, smoothed_agree = map(int, counts)
    return Agreement(
        frames=frames,
        agreement=round(agree / frames, 4) if frames else None,
        smoothed_frames=smoothed,
        smoothed_agreement=round(smoothed_agree / smoothed, 4) if smoothed else None,
    )
