"""Copies pictures of libcamera's streams out of the camera's pages, in one go.

A row may be longer than the picture is wide. Runs on the reader's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import CameraError
from edge.frames import PixelFormat

FORMATS: Final[dict[str, PixelFormat]] = {
    "YUV420": "i420",
    "NV12": "nv12",
    "YUYV": "yuyv",
    "RGB888": "bgr",  # libcamera names the bytes of a little-endian word
    "BGR888": "rgb",
}
"""libcamera's name for a format -> ours."""


@dataclass(slots=True)
class Stream:
    """One of the camera's streams, and the arrays for its pictures.

    stride  bytes from one row to the next
    pixels  as ``PixelFormat`` says, made at the first picture
    """

    name: str
    width: int
    height: int
    stride: int
    format: PixelFormat
    pixels: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    padded: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))

    def copy(self, request: Any) -> NDArray[np.uint8]:
        """Return the request's picture, which the next one overwrites."""
        from picamera2 import MappedArray

        if not self.pixels.size:
            self.pixels = picture(self.width, self.height, self.format)
            self.padded = np.empty(self.pixels.shape[0] * self.stride, np.uint8)
        tight = self.pixels.size == self.padded.size
        target = self.pixels.reshape(-1) if tight else self.padded
        with MappedArray(request, self.name, reshape=False, write=False) as mapped:
            np.copyto(target, mapped.array[: target.size])
        if not tight:
            unpad(self.padded, self.stride, self.pixels, self.format)
        return self.pixels


def stream(name: str, got: Mapping[str, Any], where: str) -> Stream:
    """Return the stream as it was configured."""
    layout = FORMATS.get(got["format"])
    if layout is None:
        raise CameraError(
            "the camera gives an unknown pixel format",
            reason="unsupported",
            where=where,
            expected=" or ".join(FORMATS),
            got=str(got["format"]),
            hint="use /dev/v4l/by-id/... for a USB camera",
        )
    width, height = got["size"]
    return Stream(name, width, height, int(got["stride"]), layout)


def picture(width: int, height: int, layout: PixelFormat) -> NDArray[np.uint8]:
    """Return an array for a picture; its shape is that of ``PixelFormat``."""
    if layout in ("i420", "nv12"):
        return np.empty((height * 3 // 2, width), np.uint8)
    return np.empty((height, width, 2 if layout == "yuyv" else 3), np.uint8)


def unpad(
    padded: NDArray[np.uint8], stride: int, out: NDArray[np.uint8], layout: PixelFormat = "i420"
) -> None:
    """Copy a picture whose rows are ``stride`` bytes apart into one without padding.

    padded  (rows * stride,) of i420 the rows of U and V are ``stride / 2`` apart
    out     as ``picture`` makes it, overwritten
    """
    rows = out.reshape(out.shape[0], -1)
    if layout != "i420":
        rows[...] = padded.reshape(rows.shape[0], stride)[:, : rows.shape[1]]
        return
    width, height = out.shape[1], out.shape[0] * 2 // 3
    out[:height] = padded[: stride * height].reshape(height, stride)[:, :width]
    chroma = padded[stride * height :].reshape(height, stride // 2)[:, : width // 2]
    out.reshape(-1)[height * width :].reshape(height, width // 2)[...] = chroma
