"""A frame becomes a picture that a person can judge and a model can learn from.

Rule 1: masked parts are painted over first: in the frame's own size, before anything is made of it.

Runs on the worker's thread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frames import Frame
from edge.geometry import Roi
from edge.pictures.upright import upright

QUALITY: Final = 90
"""Of the JPEG; at 640x480 some 60 to 150 kB."""
PAINT: Final = 0
"""Black."""


def masked(mask: Sequence[Roi], roi: Roi) -> tuple[Roi, ...]:
    """Return ``mask``, shares of the upright picture, as shares of its part ``roi``."""
    left, top, width, height = roi
    parts = []
    for x, y, wide, high in mask:
        begin, end = (x - left) / width, (x + wide - left) / width
        above, below = (y - top) / height, (y + high - top) / height
        if end > 0 and begin < 1 and below > 0 and above < 1:
            parts.append((begin, above, end - begin, below - above))
    return tuple(parts)


def make(frame: Frame, mask: Sequence[Roi], side: int) -> NDArray[np.uint8]:
    """Return the part of ``frame`` that is classified, upright, (H, W, 3) BGR.

    frame  its pixels may be painted over
    mask   shares of that part; outwards to whole pixels, and one more
    side   of the longer side, at most
    """
    picture = upright(frame)
    height, width = picture.shape[:2]
    for left, top, wide, high in mask:
        columns = slice(*_span(left, wide, width))
        picture[slice(*_span(top, high, height)), columns] = PAINT
    scale = side / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def jpeg(picture: NDArray[np.uint8]) -> bytes:
    """Return ``picture``, BGR, as a JPEG."""
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def _span(begin: float, share: float, length: int) -> tuple[int, int]:
    first = math.floor(begin * length) - 1
    return max(0, first), min(length, math.ceil((begin + share) * length) + 1)
