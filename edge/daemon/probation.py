"""Whether a model that has just been chosen does: it gives scores, keeps up, does not drift.

Counts what the run counts anyway, once an interval; costs nothing for a frame.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from edge.daemon.run import Run
from edge.frames import Seconds

CHECK_S: Final = 10.0
FRAMES_LEAST: Final = 20
"""Frames of an interval that say anything."""
IN_A_ROW: Final = 2
"""Bad intervals after which a model is no good: one may be another program's fault."""
INVALID_SHARE: Final = 0.2
DROPPED_SHARE: Final = 0.5
"""Of the camera's frames, not classified in time; not counted where it was so before, too."""
STARTS_MAX: Final = 3
"""Starts of the daemon within the probation: more of them, and the model ends it."""


@dataclass(frozen=True, slots=True)
class _Counted:
    frames: int
    dropped: int
    invalid: int

    def less(self, before: _Counted) -> _Counted:
        """Return what came since ``before``."""
        return _Counted(
            self.frames - before.frames,
            self.dropped - before.dropped,
            self.invalid - before.invalid,
        )

    @property
    def dropped_share(self) -> float:
        return self.dropped / max(1, self.frames + self.dropped)


class Probation:
    """One model on probation; begins with the model.

    left_s  how long it still takes: by a clock that nobody sets
    """

    def __init__(self, run: Run, left_s: Seconds) -> None:
        self._run, self._end_s = run, time.monotonic() + left_s
        self._before = self._counted()
        self._usual = self._before.dropped_share
        self._bad, self._next_s = 0, time.monotonic() + CHECK_S

    @property
    def over(self) -> bool:
        """Whether the model has proven itself."""
        return time.monotonic() >= self._end_s

    def fault(self) -> str:
        """Return what is wrong with the model, in words; empty where nothing is, so far."""
        if self._run.drifting:
            return f"drifts: {self._run.drifting}"
        now_s = time.monotonic()
        if now_s < self._next_s:
            return ""
        self._next_s = now_s + CHECK_S
        counted = self._counted()
        new, self._before = counted.less(self._before), counted
        fault = self._judge(new)
        self._bad = self._bad + 1 if fault else 0
        return fault if self._bad >= IN_A_ROW else ""

    def _judge(self, new: _Counted) -> str:
        if new.frames + new.dropped < FRAMES_LEAST:
            return ""
        if new.invalid > INVALID_SHARE * new.frames:
            return f"{new.invalid} of {new.frames} frames have no scores"
        if new.dropped_share > max(DROPPED_SHARE, 2 * self._usual):
            total = new.frames + new.dropped
            return f"too slow: {new.frames} of {total} frames were classified in time"
        return ""

    def _counted(self) -> _Counted:
        run = self._run
        return _Counted(run.frames_total, run.dropped_total, run.invalid_scores_total)
