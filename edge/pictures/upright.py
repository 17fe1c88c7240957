"""The part of a frame that is classified, upright, as a person looks at it.

Pure; never writes into a camera's pixels. Runs on the caller's thread.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge import geometry
from edge.frames import Frame, PixelFormat

_TO_BGR: Final[dict[PixelFormat, int]] = {
    "rgb": cv2.COLOR_RGB2BGR,
    "gray": cv2.COLOR_GRAY2BGR,
    "yuyv": cv2.COLOR_YUV2BGR_YUYV,
    "i420": cv2.COLOR_YUV2BGR_I420,
    "nv12": cv2.COLOR_YUV2BGR_NV12,
}


def upright(frame: Frame) -> NDArray[np.uint8]:
    """Return the part of ``frame`` that is classified, (H, W, 3) BGR, maybe its own."""
    pixels = frame.pixels
    if frame.format != "bgr":
        pixels = np.asarray(cv2.cvtColor(pixels, _TO_BGR[frame.format]), np.uint8)
    height, width = pixels.shape[:2]
    used = geometry.part(height, width, geometry.before_turning(frame.view))
    pixels = geometry.cut(pixels, used)
    swapped, across, down = geometry.steps(frame.view)
    if not (swapped or across or down):
        return pixels
    height, width = pixels.shape[:2]
    turned = np.empty((width, height, 3) if swapped else (height, width, 3), np.uint8)
    geometry.turn(pixels, frame.view, turned)
    return turned
