"""A frame becomes the model's input, straight into the tensor.

A picture is shrunk before it is converted, where its layout allows that; then, only where the
tensor's values differ from the pixels', comes one table look-up. The last step writes into the
tensor. Training, evaluation and daemon all use this module.

Pure: knows no camera and no TFLite. Runs on the caller's thread.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge import geometry
from edge.errors import ModelError
from edge.frames import Frame, PixelFormat, View
from edge.model.card import Color, Preprocessing, TensorSpec
from edge.model.lookup import lookup_table
from edge.model.subsampled import SUBSAMPLED, Planes

_INTERPOLATION: Final = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA}

# Conversions of layouts without subsampled colour; for the others see subsampled.
_PACKED: Final[dict[tuple[PixelFormat, Color], int]] = {
    ("bgr", "rgb"): cv2.COLOR_BGR2RGB,
    ("rgb", "bgr"): cv2.COLOR_RGB2BGR,
    ("bgr", "gray"): cv2.COLOR_BGR2GRAY,
    ("rgb", "gray"): cv2.COLOR_RGB2GRAY,
    ("gray", "rgb"): cv2.COLOR_GRAY2RGB,
    ("gray", "bgr"): cv2.COLOR_GRAY2BGR,
}


class Preprocessor:
    """Writes frames into one model's input tensor; owns every buffer it needs.

    how     the card's preprocessing
    tensor  (1, H, W, 3), or (1, H, W, 1) for gray; uint8, int8, int16 or float32

    Buffers are made at the first frame of each size, then reused.
    """

    def __init__(self, how: Preprocessing, tensor: TensorSpec) -> None:
        channels = 1 if how.color == "gray" else 3
        if len(tensor.shape) != 4 or tensor.shape[0] != 1 or tensor.shape[3] != channels:
            raise ModelError(
                f"the input tensor does not take one {how.color} picture",
                expected=f"(1, height, width, {channels})",
                got=str(tuple(tensor.shape)),
                hint="correct `color` in the card's [preprocessing], or convert the model again",
            )
        self._how = how
        self._height, self._width = tensor.shape[1], tensor.shape[2]
        self._plane = (self._height, self._width) if channels == 1 else tensor.shape[1:]
        self._table = lookup_table(how, tensor)
        self._interpolation = _INTERPOLATION[how.interpolation]
        self._unpacked = np.empty(0, np.uint8)
        self._small = np.empty(0, np.uint8)
        self._canvas = np.empty(self._plane, np.uint8)
        self._lying = np.empty(0, np.uint8)
        self._planes = Planes(how.color, self._interpolation)

    @property
    def any_shape(self) -> bool:
        """Whether the camera may stretch a picture without a change of the result."""
        return self._how.resize == "stretch"

    def useful(self, view: View) -> tuple[int, int]:
        """Return width and height of a camera's picture; more pixels would not be used.

        view  how the picture is turned and cropped
        """
        _, _, wide, high = geometry.before_turning(view)
        swapped = geometry.steps(view)[0]
        width, height = (self._height, self._width) if swapped else (self._width, self._height)
        share = self._how.central_fraction
        return math.ceil(width / share / wide), math.ceil(height / share / high)

    def __call__(self, frame: Frame, out: NDArray[np.generic]) -> None:
        """Write ``frame`` into ``out``.

        out  (1, H, W, C) C-contiguous view of the input tensor, overwritten whole
        """
        tensor = out.reshape(self._plane)
        if self._table is None:
            self._upright(frame, tensor.view(np.uint8))
            return
        self._upright(frame, self._canvas)
        integer = tensor.dtype.itemsize == 1
        cv2.LUT(self._canvas, self._table, dst=tensor.view(np.uint8) if integer else tensor)

    def picture(self, tensor: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Return the pixels that the last call wrote: (H, W, 3) or (H, W), valid until the next.

        tensor  view of the input tensor. No runtime overwrites it during ``invoke``: TFLite plans
                its memory so; source: arena_planner.cc, "never overwritten"
        """
        if self._table is None:
            return tensor.reshape(self._plane).view(np.uint8)
        return self._canvas

    def _upright(self, frame: Frame, out: NDArray[np.uint8]) -> None:
        """Fill ``out``; a picture is turned after it was shrunk."""
        view = frame.view
        swapped, across, down = geometry.steps(view)
        if not (swapped or across or down):
            self._fit(frame, out)
            return
        shape = (out.shape[1], out.shape[0], *out.shape[2:]) if swapped else out.shape
        if self._lying.shape != shape:
            self._lying = np.empty(shape, np.uint8)
        self._fit(frame, self._lying)
        geometry.turn(self._lying, view, out)

    def _fit(self, frame: Frame, out: NDArray[np.uint8]) -> None:
        """Crop, convert and resize into ``out``, (H, W, 3) or (H, W) in the model's colours."""
        pixels, layout, color = frame.pixels, frame.format, self._how.color
        height, width = pixels.shape[:2]
        if layout in ("i420", "nv12"):
            height = height * 2 // 3
        source, target = self._window(height, width, geometry.before_turning(frame.view), out)
        code = SUBSAMPLED.get((layout, color))
        if code is not None:
            if self._planes.shrink(pixels, layout, source, target):
                return
            shape = (height, width, *out.shape[2:])
            if self._unpacked.shape != shape:
                self._unpacked = np.empty(shape, np.uint8)
            cv2.cvtColor(pixels, code, dst=self._unpacked)
            pixels, layout = self._unpacked, color
        pixels = geometry.cut(pixels, source)
        if layout == color:
            cv2.resize(pixels, target.shape[1::-1], dst=target, interpolation=self._interpolation)
            return
        shape = (*target.shape[:2], *pixels.shape[2:])
        if self._small.shape != shape:
            self._small = np.empty(shape, np.uint8)
        cv2.resize(pixels, shape[1::-1], dst=self._small, interpolation=self._interpolation)
        cv2.cvtColor(self._small, _PACKED[layout, color], dst=target)

    def _window(
        self, height: int, width: int, roi: geometry.Roi, out: NDArray[np.uint8]
    ) -> tuple[geometry.Rect, NDArray[np.uint8]]:
        """Return the part of the picture that is used and the part of ``out`` it fills."""
        used = geometry.centre(geometry.part(height, width, roi), self._how.central_fraction)
        rows, columns = out.shape[:2]
        if self._how.resize == "crop":
            scale = min(used.rows / rows, used.columns / columns)
            used = geometry.middle(used, round(rows * scale), round(columns * scale))
        elif self._how.resize == "letterbox":
            scale = max(used.rows / rows, used.columns / columns)
            filled = geometry.middle(
                geometry.Rect(0, 0, rows, columns),
                max(1, round(used.rows / scale)),
                max(1, round(used.columns / scale)),
            )
            if (filled.rows, filled.columns) != (rows, columns):
                out[...] = self._how.pad
            return used, geometry.cut(out, filled)
        return used, out
