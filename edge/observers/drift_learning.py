"""What is usual for a model without a baseline: learnt from the frames of this device.

Features are left out: their mean is not known before the frames are over. Pure, but for ``save``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.baseline import OF_PICTURES, OF_SCORES, Baseline, build

Floats = NDArray[np.float32]

ROWS: Final = 1000
SAVES: Final = 25
"""Times that what was learnt so far is saved: a restart loses so little."""


class Learning:
    """Collects figures of frames, spread over the time of learning.

    begun  (n, 8) of an earlier run
    save   takes the figures so far, (n, 8) the taker's own; never waits
    """

    def __init__(self, begun: Floats, save: Callable[[Floats], None]) -> None:
        self._rows = np.empty((ROWS, len(OF_PICTURES) + len(OF_SCORES)), np.float32)
        self._count = min(ROWS, len(begun))
        self._rows[: self._count] = begun[: self._count]
        self._save = save

    @property
    def share(self) -> float:
        """How much of what is needed is there."""
        return self._count / ROWS

    def baseline(self) -> Baseline | None:
        """Return what was learnt; None where that is not enough yet."""
        return build(self._rows) if self._count == ROWS else None

    def add(self, figures: Floats) -> None:
        """Take the figures of one frame, (8,)."""
        self._rows[self._count] = figures
        self._count += 1
        if self._count % (ROWS // SAVES) == 0:
            self._save(self._rows[: self._count].copy())
