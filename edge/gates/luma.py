"""A small picture of a frame's brightness: single pixels, evenly spaced over the part in use.

One strided copy, 3 to 5 us from any size; the model's own input would cost 200. Every sample keeps
its noise: the blocks that they are averaged over take it away. Pure; runs on the caller's thread.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge import geometry
from edge.frames import AS_IT_IS, Frame

ROWS: Final = 12
COLUMNS: Final = 16
"""Blocks that a picture is compared by, at most."""
SIDE: Final = 8
"""Samples of a block, at least so many in each direction, where the picture has them."""

Grid = NDArray[np.float32]


class Sampler:
    """Takes the samples of frames; works out where they are once for each kind of picture."""

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()
        self._format, self._view = "", AS_IT_IS
        self._where: tuple[slice | int, ...] = ()

    def __call__(self, frame: Frame) -> NDArray[np.uint8]:
        """Return the samples of ``frame``: a view of its pixels, (h, w).

        Luma where the layout has it, else green. h and w are multiples of ``blocks``
        """
        shape = frame.pixels.shape
        if shape != self._shape or frame.format != self._format or frame.view is not self._view:
            self._shape, self._format, self._view = shape, frame.format, frame.view
            self._where = _where(frame)
        return frame.pixels[self._where]


def _where(frame: Frame) -> tuple[slice | int, ...]:
    """Return the index of a frame's samples in its pixels."""
    (height, width), layout = frame.pixels.shape[:2], frame.format
    if layout in ("i420", "nv12"):
        height = height * 2 // 3
    used = geometry.part(height, width, geometry.before_turning(frame.view))
    rows = _spaced(used.top, used.rows, ROWS)
    columns = _spaced(used.left, used.columns, COLUMNS)
    if layout in ("bgr", "rgb", "yuyv"):
        return rows, columns, 0 if layout == "yuyv" else 1
    return rows, columns


def blocks(height: int, width: int) -> tuple[int, int]:
    """Return rows and columns of blocks that so many samples make, all of one size."""
    return _divisor(height, ROWS), _divisor(width, COLUMNS)


def _divisor(total: int, most: int) -> int:
    return next(number for number in range(min(most, total), 0, -1) if total % number == 0)


def _spaced(begin: int, length: int, most: int) -> slice:
    """Return which of ``length`` pixels from ``begin`` on are sampled, for at most so many parts.

    As many parts as leave out less than a tenth. Of the steps that give a part SIDE to 1.5 SIDE
    samples, the one that leaves out least.
    """
    parts = next(n for n in range(min(most, length), 0, -1) if length // n * n >= 0.9 * length)

    def total(step: int) -> int:
        return length // step // parts * parts

    least, largest = max(1, length // (parts * SIDE * 3 // 2)), max(1, length // (parts * SIDE))
    step = max(range(least, largest + 1), key=lambda step: (total(step) * step, step))
    first = begin + (length - (total(step) - 1) * step - 1) // 2
    return slice(first, first + total(step) * step, step)
