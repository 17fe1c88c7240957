"""A frame as a JPEG of bounded size, with a caption or without.

Pure; never writes into a camera's pixels. Runs on the caller's thread: some milliseconds at
640x480.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frames import Frame
from edge.pictures.upright import upright

BEST: Final = 85
"""JPEG quality, tried first."""
WORST: Final = 25
"""Lowest quality; below it the size is reduced instead."""
SMALLEST: Final = 16
"""Pixels of the longer side; no smaller picture is made."""
FONT: Final = cv2.FONT_HERSHEY_SIMPLEX


def encode(frame: Frame, *, width: int, max_bytes: int, caption: str = "") -> bytes | None:
    """Return ``frame`` as a JPEG; None where it does not fit in ``max_bytes``.

    width      pixels, at most; a smaller frame is not enlarged
    max_bytes  of the JPEG; quality is reduced first, then size
    caption    drawn at the bottom left; empty for none
    """
    pixels = upright(frame)
    frame_height, frame_width = pixels.shape[:2]
    scale = min(1.0, width / frame_width)
    while max(frame_height, frame_width) * scale >= SMALLEST:
        size = (max(1, round(frame_width * scale)), max(1, round(frame_height * scale)))
        picture = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
        if caption:
            _draw(picture, caption)
        low, high, quality = WORST, BEST, BEST
        fitting = None
        while low <= high:  # the best quality that fits
            jpeg = _jpeg(picture, quality)
            if len(jpeg) <= max_bytes:
                fitting, low = jpeg, quality + 1
            else:
                high = quality - 1
            quality = (low + high) // 2
        if fitting is not None:
            return fitting
        scale *= 0.7
    return None


def _jpeg(picture: NDArray[np.uint8], quality: int) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _draw(picture: NDArray[np.uint8], caption: str) -> None:
    """Write ``caption`` on a dark bar at the bottom left, shortened until it fits."""
    height, width = picture.shape[:2]
    scale = max(0.3, height / 600)
    text = caption.encode("ascii", "replace").decode()  # the font has no other characters
    while text and cv2.getTextSize(text, FONT, scale, 1)[0][0] > width - 8:
        text = text[:-1]
    if not text:
        return
    (wide, high), below = cv2.getTextSize(text, FONT, scale, 1)
    top = max(0, height - high - below - 8)
    cv2.rectangle(picture, (0, top), (wide + 8, height), (24, 24, 24), -1)
    at = (4, height - below - 4)
    cv2.putText(picture, text, at, FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
