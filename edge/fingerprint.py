"""A picture's fingerprint: 64 bits that differ in few places where pictures look alike.

The signs of the lowest frequencies of a small grey copy, against their median. Source: the
perceptual hash of Zauner, 2010. Pure.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE: Final = 32
LOW: Final = 8


def fingerprint(pixels: NDArray[np.uint8]) -> int:
    """Return the fingerprint of a picture (H, W, 3) or (H, W), uint8."""
    small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    grey = small if small.ndim == 2 else small.mean(axis=2)
    low = cv2.dct(grey.astype(np.float32))[:LOW, :LOW].ravel()
    bits = low > np.median(low[1:])  # the mean brightness does not count
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
