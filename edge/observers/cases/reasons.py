"""Decides which frames are kept, and why.

Rule 1: a frame has one reason, the first of ``ORDER`` that applies.
Rule 2: it never reads a clock; time arrives with the frame.

What another observer asks for (``shadow``, ``drift``) comes before all of these: those observers
get the frame first. Pure state; microseconds a frame.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Final

import numpy as np

from edge.config import CasesConfig
from edge.frames import Classified, InvalidScores

ORDER: Final = ("shadow", "drift", "request", "flips", "window", "margin", "control", "every")
"""Every reason; the first two are asked for by other observers."""


class Reasons:
    """What [cases] says of frames. labels: (C,) in score order."""

    def __init__(self, config: CasesConfig, labels: tuple[str, ...]) -> None:
        self._config, self._labels = config, labels
        self._chance = random.Random(config.seed)
        self._changes_ns: deque[int] = deque(maxlen=config.flips + 1)
        self._every_ns: int | None = None

    def of(self, seen: Classified, requested: bool) -> str:
        """Return why this frame is kept; empty where it is not. requested: somebody waits."""
        config = self._config
        drawn = bool(config.control) and self._chance.random() < config.control
        flipped = bool(config.flips) and self._flipped(seen)
        if requested:
            return "request"
        if flipped:
            return "flips"
        if (config.window or config.margin) and (reason := self._doubt(seen)):
            return reason
        if drawn:
            return "control"
        return "every" if config.every_s and self._due(seen.done_ns) else ""

    def taken(self, reason: str, now_ns: int) -> None:
        """Remember that a frame with this reason was taken."""
        if reason == "every":
            self._every_ns = now_ns

    def _flipped(self, seen: Classified) -> bool:
        """Return whether the label has changed too often with this frame; then begin again."""
        if seen.change is None:
            return False
        changes = self._changes_ns
        changes.append(seen.done_ns)
        within = changes[-1] - changes[0] <= self._config.flips_s * 1e9
        if len(changes) <= self._config.flips or not within:
            return False
        changes.clear()
        return True

    def _doubt(self, seen: Classified) -> str:
        prediction, config = seen.prediction, self._config
        if isinstance(prediction, InvalidScores):
            return ""
        best = int(seen.scores.argmax())
        other = prediction.label not in (None, self._labels[best])
        if config.window and other and not prediction.partial:
            return "window"
        if config.margin and len(self._labels) > 1:
            second, first = np.partition(seen.scores, -2)[-2:]
            if first - second < config.margin:
                return "margin"
        return ""

    def _due(self, now_ns: int) -> bool:
        return self._every_ns is None or now_ns - self._every_ns >= self._config.every_s * 1e9
