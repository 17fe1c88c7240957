"""A frame becomes the model's input, straight into the tensor.

At most one colour conversion and one resize, then, only where the tensor's numbers differ
from the pixels', one table look-up; the last of these writes into the tensor. Training,
evaluation and daemon all use this module.

Pure: knows no camera and no TFLite. Runs on the caller's thread.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError
from edge.types import Color, Frame, PixelFormat, Preprocessing, TensorSpec

_INTERPOLATION: Final = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA}

# Conversions of the formats that are cheap to shrink first, and of those that must be unpacked
# to whole pixels before a resize (subsampled chroma).
_PACKED: Final[dict[tuple[PixelFormat, Color], int]] = {
    ("bgr", "rgb"): cv2.COLOR_BGR2RGB,
    ("rgb", "bgr"): cv2.COLOR_RGB2BGR,
    ("bgr", "gray"): cv2.COLOR_BGR2GRAY,
    ("rgb", "gray"): cv2.COLOR_RGB2GRAY,
    ("gray", "rgb"): cv2.COLOR_GRAY2RGB,
    ("gray", "bgr"): cv2.COLOR_GRAY2BGR,
}
_SUBSAMPLED: Final[dict[tuple[PixelFormat, Color], int]] = {
    ("yuyv", "rgb"): cv2.COLOR_YUV2RGB_YUYV,
    ("yuyv", "bgr"): cv2.COLOR_YUV2BGR_YUYV,
    ("yuyv", "gray"): cv2.COLOR_YUV2GRAY_YUYV,
    ("i420", "rgb"): cv2.COLOR_YUV2RGB_I420,
    ("i420", "bgr"): cv2.COLOR_YUV2BGR_I420,
    ("i420", "gray"): cv2.COLOR_YUV2GRAY_I420,
    ("nv12", "rgb"): cv2.COLOR_YUV2RGB_NV12,
    ("nv12", "bgr"): cv2.COLOR_YUV2BGR_NV12,
    ("nv12", "gray"): cv2.COLOR_YUV2GRAY_NV12,
}


class Preprocessor:
    """Writes frames into one model's input tensor; owns every buffer it needs.

    how     the card's preprocessing
    tensor  (1, H, W, 3), or (1, H, W, 1) for gray; uint8, int8 or float32

    Buffers are made at the first frame of each size, then reused.
    """

    def __init__(self, how: Preprocessing, tensor: TensorSpec) -> None:
        channels = 1 if how.color == "gray" else 3
        if len(tensor.shape) != 4 or tensor.shape[0] != 1 or tensor.shape[3] != channels:
            raise ModelError(
                f"input tensor does not take one {how.color} picture",
                expected=f"(1, height, width, {channels})",
                got=str(tuple(tensor.shape)),
                mend="correct `color` in the card's [preprocessing] or convert the model anew",
            )
        self._how = how
        self._height, self._width = tensor.shape[1], tensor.shape[2]
        self._plane = (self._height, self._width) if channels == 1 else tensor.shape[1:]
        self._table = lookup_table(how, tensor)
        self._interpolation = _INTERPOLATION[how.interpolation]
        self._unpacked = np.empty(0, np.uint8)
        self._small = np.empty(0, np.uint8)
        self._canvas = np.full(self._plane, how.pad, np.uint8)

    def __call__(self, frame: Frame, out: NDArray[np.generic]) -> None:
        """Write ``frame`` into ``out``.

        out  (1, H, W, C) C-contiguous view of the input tensor, overwritten whole
        """
        tensor = out.reshape(self._plane)
        if self._table is None:
            self._fit(frame, tensor.view(np.uint8))
            return
        self._fit(frame, self._canvas)
        integer = tensor.dtype.itemsize == 1
        cv2.LUT(self._canvas, self._table, dst=tensor.view(np.uint8) if integer else tensor)

    def _fit(self, frame: Frame, out: NDArray[np.uint8]) -> None:
        """Convert and resize into ``out``, (H, W, 3) or (H, W) in the model's colour order."""
        pixels, layout = frame.pixels, frame.format
        color = self._how.color
        code = _SUBSAMPLED.get((layout, color))
        if code is not None:
            height = pixels.shape[0] if layout == "yuyv" else pixels.shape[0] * 2 // 3
            shape = (height, pixels.shape[1], *out.shape[2:])
            if self._unpacked.shape != shape:
                self._unpacked = np.empty(shape, np.uint8)
            cv2.cvtColor(pixels, code, dst=self._unpacked)
            pixels, layout = self._unpacked, color
        source, target = self._window(pixels, out)
        if layout == color:
            cv2.resize(source, target.shape[1::-1], dst=target, interpolation=self._interpolation)
            return
        shape = (*target.shape[:2], *pixels.shape[2:])
        if self._small.shape != shape:
            self._small = np.empty(shape, np.uint8)
        cv2.resize(source, shape[1::-1], dst=self._small, interpolation=self._interpolation)
        cv2.cvtColor(self._small, _PACKED[layout, color], dst=target)

    def _window(
        self, pixels: NDArray[np.uint8], out: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the part of the picture that is used and the part of ``out`` it fills."""
        pixels = centre(pixels, self._how.central_fraction)
        height, width = pixels.shape[:2]
        if self._how.resize == "crop":
            scale = min(height / self._height, width / self._width)
            used_height, used_width = round(self._height * scale), round(self._width * scale)
            top, left = (height - used_height) // 2, (width - used_width) // 2
            return pixels[top : top + used_height, left : left + used_width], out
        if self._how.resize == "letterbox":
            scale = max(height / self._height, width / self._width)
            rows = max(1, round(height / scale))
            columns = max(1, round(width / scale))
            top, left = (self._height - rows) // 2, (self._width - columns) // 2
            if (rows, columns) != (self._height, self._width):
                out[...] = self._how.pad
            return pixels, out[top : top + rows, left : left + columns]
        return pixels, out


def centre(pixels: NDArray[np.uint8], fraction: float) -> NDArray[np.uint8]:
    """Return a view of the middle ``fraction`` of each side, at least a pixel."""
    height, width = pixels.shape[:2]
    rows, columns = max(1, round(height * fraction)), max(1, round(width * fraction))
    top, left = (height - rows) // 2, (width - columns) // 2
    return pixels[top : top + rows, left : left + columns]


def lookup_table(
    how: Preprocessing, tensor: TensorSpec
) -> NDArray[np.uint8] | NDArray[np.float32] | None:
    """Return what each pixel value is in the tensor, or None where it is the pixel itself.

    Result  (1, 256) or (1, 256, C): float32 for a float tensor; else the tensor's integers,
            as uint8 bits. A quantisation within half a step of the pixel's own value counts
            as the pixel: a model trained on pixel / 127.5 - 1 and quantised with scale
            1 / 127.5 takes camera bytes as they are.
    Source  real = (pixel - mean) / std; q = real / scale + zero_point (Jacob et al. 2018, eq. 1).
    """
    mean = np.atleast_1d(np.asarray(how.mean, np.float64))
    std = np.atleast_1d(np.asarray(how.std, np.float64))
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, tensor.shape[3]) or not np.all(np.isfinite(values)):
            raise ModelError(
                f"`{name}` in [preprocessing] does not fit the input tensor",
                expected=f"one number, or {tensor.shape[3]}",
                got=str(getattr(how, name)),
            )
    if not np.all(std > 0):
        raise ModelError("`std` in [preprocessing] must be above 0", got=str(how.std))
    per_channel = max(len(mean), len(std)) > 1
    pixel = np.arange(256, dtype=np.float64).reshape(1, 256, 1)
    real = (pixel - mean) / std
    if not per_channel:
        real = real[:, :, 0]
        pixel = pixel[:, :, 0]
    if tensor.dtype == np.float32:
        return real.astype(np.float32)
    if tensor.dtype not in (np.uint8, np.int8) or tensor.scale <= 0:
        raise ModelError(
            "input tensor has a type this program does not feed",
            expected="uint8, int8 (quantised) or float32",
            got=f"{tensor.dtype} with scale {tensor.scale:g}",
        )
    quantised = real / tensor.scale + tensor.zero_point
    lowest = np.iinfo(tensor.dtype).min
    if np.max(np.abs(quantised - (pixel + lowest))) <= 0.5 + 1e-3:
        if lowest == 0:
            return None
        quantised = np.broadcast_to(pixel + lowest, quantised.shape)
    bounds = np.iinfo(tensor.dtype)
    rounded = np.clip(np.floor(quantised + 0.5), bounds.min, bounds.max)
    return rounded.astype(tensor.dtype).view(np.uint8)
