"""Turns, mirrors and cuts pictures, in every layout of pixels.

Pure; of a frame it knows only pixels and ``View``. Runs on the caller's thread.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frames import View

Roi = tuple[float, float, float, float]


WHOLE: Final[Roi] = (0.0, 0.0, 1.0, 1.0)


class Rect(NamedTuple):
    """A part of a picture, in pixels."""

    top: int
    left: int
    rows: int
    columns: int


def steps(view: View) -> tuple[bool, bool, bool]:
    """Return a view's turn as: rows and columns swapped, then mirrored left-right, up-down."""
    swapped = view.rotation in (90, 270)
    across = view.flip_horizontal ^ (view.rotation in (90, 180))
    down = view.flip_vertical ^ (view.rotation in (180, 270))
    return swapped, across, down


def before_turning(view: View) -> Roi:
    """Return the part of the camera's picture that is ``view.roi`` of the upright one."""
    left, top, width, height = view.roi
    swapped, across, down = steps(view)
    if across:
        left = 1.0 - left - width
    if down:
        top = 1.0 - top - height
    return (top, left, height, width) if swapped else (left, top, width, height)


def after_turning(view: View, roi: Roi) -> Roi:
    """Return the part of the upright picture that is ``roi`` of the camera's."""
    swapped, across, down = steps(view)
    left, top, width, height = (roi[1], roi[0], roi[3], roi[2]) if swapped else roi
    if across:
        left = 1.0 - left - width
    if down:
        top = 1.0 - top - height
    return (left, top, width, height)


def part(height: int, width: int, roi: Roi) -> Rect:
    """Return ``roi`` of a picture in pixels, at least one."""
    top, bottom = _span(roi[1], roi[3], height)
    left, right = _span(roi[0], roi[2], width)
    return Rect(top, left, bottom - top, right - left)


def centre(rect: Rect, fraction: float) -> Rect:
    """Return the middle ``fraction`` of each side, at least a pixel."""
    rows, columns = max(1, round(rect.rows * fraction)), max(1, round(rect.columns * fraction))
    return middle(rect, rows, columns)


def middle(rect: Rect, rows: int, columns: int) -> Rect:
    """Return the middle ``rows`` and ``columns``."""
    top, left = (rect.rows - rows) // 2, (rect.columns - columns) // 2
    return Rect(rect.top + top, rect.left + left, rows, columns)


def cut(pixels: NDArray[np.uint8], rect: Rect) -> NDArray[np.uint8]:
    """Return a view of a part of (H, W, ...)."""
    below, right = rect.top + rect.rows, rect.left + rect.columns
    return pixels[rect.top : below, rect.left : right]


def _span(begin: float, share: float, length: int) -> tuple[int, int]:
    first = min(length - 1, max(0, round(begin * length)))
    return first, max(first + 1, min(length, round((begin + share) * length)))


def turn(pixels: NDArray[np.uint8], view: View, out: NDArray[np.uint8]) -> None:
    """Write ``pixels``, (h, w, ...), upright into ``out``; (w, h, ...) where sides are swapped."""
    swapped, across, down = steps(view)
    if swapped and across != down:
        code = cv2.ROTATE_90_CLOCKWISE if across else cv2.ROTATE_90_COUNTERCLOCKWISE
        cv2.rotate(pixels, code, dst=out)
        return
    if swapped:
        cv2.transpose(pixels, dst=out)
        pixels = out
    if across or down:
        cv2.flip(pixels, -1 if across and down else int(across), dst=out)
    elif not swapped:
        out[...] = pixels
