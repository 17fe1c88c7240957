"""A small picture of a frame's brightness: single pixels, evenly spaced over the part in use.

One strided copy, 3 to 5 us from any size; the model's own input would cost 200. Every sample keeps
its noise: the blocks that they are averaged over take it away. Pure; runs on the caller's thread.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge import geometry
from edge.frames import Frame

ROWS: Final = 12
COLUMNS: Final = 16
"""Blocks that a picture is compared by, at most."""
SIDE: Final = 8
"""Samples of a block, at least so many in each direction, where the picture has them."""

Grid = NDArray[np.float32]


def samples(frame: Frame) -> NDArray[np.uint8]:
    """Return the samples of ``frame``: a view of its pixels, (h, w).

    Luma where the layout has it, else green. h and w are multiples of ``blocks``
    """
    pixels, height = frame.pixels, frame.pixels.shape[0]
    if frame.format in ("i420", "nv12"):
        height = height * 2 // 3
        plane = pixels[:height]
    elif frame.format == "gray":
        plane = pixels
    else:
        plane = pixels[:, :, 0 if frame.format == "yuyv" else 1]
    used = geometry.part(height, pixels.shape[1], geometry.before_turning(frame.view))
    return geometry.cut(plane, used)[_spaced(used.rows, ROWS), _spaced(used.columns, COLUMNS)]


def blocks(height: int, width: int) -> tuple[int, int]:
    """Return rows and columns of blocks that so many samples make, all of one size."""
    return _divisor(height, ROWS), _divisor(width, COLUMNS)


def _divisor(total: int, most: int) -> int:
    return next(number for number in range(min(most, total), 0, -1) if total % number == 0)


def _spaced(length: int, most: int) -> slice:
    """Return which of ``length`` pixels are sampled, for at most so many equal parts.

    As many parts as leave out less than a tenth. Of the steps that give a part SIDE to 1.5 SIDE
    samples, the one that leaves out least.
    """
    parts = next(n for n in range(min(most, length), 0, -1) if length // n * n >= 0.9 * length)

    def total(step: int) -> int:
        return length // step // parts * parts

    least, largest = max(1, length // (parts * SIDE * 3 // 2)), max(1, length // (parts * SIDE))
    step = max(range(least, largest + 1), key=lambda step: (total(step) * step, step))
    first = (length - (total(step) - 1) * step - 1) // 2
    return slice(first, first + total(step) * step, step)
