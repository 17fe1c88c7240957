"""A frame as a picture of a recording, and back.

Only the part that is classified is kept. Lossless: the pixels as the camera gave them, in their own
layout, as a PNG: preprocessing them again gives the same tensor, byte for byte. Else a JPEG.
PNGs of YUYV, I420 and NV12 are grey: the bytes as they lie, so wide and high.

Pure; runs on the caller's thread.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edge import geometry
from edge.camera.recording.archive import Kind
from edge.frames import Frame, PixelFormat, View
from edge.geometry import Rect
from edge.pictures import picture

QUALITY: Final = 95
"""Of a JPEG."""
COMPRESSION: Final = 1
"""Of a PNG: the fastest."""
_TO_BGR: Final[dict[PixelFormat, int]] = {
    "yuyv": cv2.COLOR_YUV2BGR_YUYV,
    "i420": cv2.COLOR_YUV2BGR_I420,
    "nv12": cv2.COLOR_YUV2BGR_NV12,
}
_PLANES: Final = ("i420", "nv12")
_KINDS: Final = {"jpeg": "jpg", "png": "png"}


class Part(NamedTuple):
    """The part of a frame that is classified. pixels: contiguous or not, never written."""

    pixels: NDArray[np.uint8]
    format: PixelFormat
    width: int
    height: int
    view: View


def part(frame: Frame) -> Part:
    """Return the part that is classified, not copied where its layout allows that.

    Where colour is subsampled the cut is widened to whole samples; the view keeps the rest.
    """
    pixels, layout, view = frame.pixels, frame.format, frame.view
    height, width = pixels.shape[:2]
    height = height * 2 // 3 if layout in _PLANES else height
    if view.roi == geometry.WHOLE:
        return Part(pixels, layout, width, height, view)
    used = geometry.part(height, width, geometry.before_turning(view))
    kept = _whole_samples(used, height, width) if layout in _TO_BGR else used
    inner = (
        (used.left - kept.left) / kept.columns,
        (used.top - kept.top) / kept.rows,
        used.columns / kept.columns,
        used.rows / kept.rows,
    )
    view = replace(view, roi=geometry.after_turning(view, inner))
    cut = _cut_planes if layout in _PLANES else _cut
    return Part(cut(pixels, layout, kept), layout, kept.columns, kept.rows, view)


def stored(part: Part, lossless: bool) -> PixelFormat:
    """Return the format of the pixels that the part's picture becomes."""
    if part.format == "rgb" or (part.format in _TO_BGR and not lossless):
        return "bgr"
    return part.format


def encode(pixels: NDArray[np.uint8], layout: PixelFormat, lossless: bool) -> tuple[Kind, bytes]:
    """Return a part's pixels as a picture."""
    if layout == "rgb":
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), np.uint8)
    if lossless:
        if layout == "yuyv":
            pixels = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1)
        return "png", _encoded(".png", pixels, cv2.IMWRITE_PNG_COMPRESSION, COMPRESSION)
    if layout in _TO_BGR:
        pixels = np.asarray(cv2.cvtColor(pixels, _TO_BGR[layout]), np.uint8)
    return "jpg", _encoded(".jpg", pixels, cv2.IMWRITE_JPEG_QUALITY, QUALITY)


def decode(
    content: bytes, kind: Kind, layout: PixelFormat, size: tuple[int, int], max_pixels: int
) -> NDArray[np.uint8]:
    """Return a picture's pixels in ``layout``, of ``size`` (width, height).

    Raises Unreadable: also for a picture of another kind or size than the recording says.
    """
    encoded = np.frombuffer(content, np.uint8)
    expected = _shape(layout, size)
    header = picture.read_header(encoded)
    if header is None or _KINDS.get(header.kind) != kind:
        raise picture.Unreadable(f"not a picture of the kind {kind}")
    if (header.height, header.width) != expected:
        got = f"{header.width}x{header.height}"
        raise picture.Unreadable(f"{got} pixels: expected {expected[1]}x{expected[0]}")
    pixels = picture.decode(encoded, max_pixels)
    if pixels.shape[:2] != expected:  # decoded at half its size, or turned
        raise picture.Unreadable(f"more than camera.max_pixels ({max_pixels}), or turned")
    if layout == "bgr":
        return pixels
    grey = np.ascontiguousarray(pixels[:, :, 0])
    return grey.reshape(size[1], size[0], 2) if layout == "yuyv" else grey


def _shape(layout: PixelFormat, size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of the picture that ``size`` pixels are stored as."""
    width, height = size
    if layout == "rgb":
        raise picture.Unreadable("rgb: a recording holds bgr")
    if (layout in _TO_BGR and width % 2) or (layout in _PLANES and height % 2):
        raise picture.Unreadable(f"{width}x{height} pixels of {layout}: expected even sides")
    if layout in _PLANES:
        return height * 3 // 2, width
    return height, 2 * width if layout == "yuyv" else width


def _encoded(suffix: str, pixels: NDArray[np.uint8], option: int, value: int) -> bytes:
    done, content = cv2.imencode(suffix, pixels, [option, value])
    if not done:
        raise ValueError(f"no {suffix} of {pixels.shape}")
    return content.tobytes()


def _whole_samples(used: Rect, height: int, width: int) -> Rect:
    """Return the part widened to even pixels."""
    top, left = used.top & ~1, used.left & ~1
    bottom = min(height, used.top + used.rows + 1 & ~1)
    right = min(width, used.left + used.columns + 1 & ~1)
    return Rect(top, left, bottom - top, right - left)


def _cut(pixels: NDArray[np.uint8], _: PixelFormat, kept: Rect) -> NDArray[np.uint8]:
    return geometry.cut(pixels, kept)


def _cut_planes(pixels: NDArray[np.uint8], layout: PixelFormat, kept: Rect) -> NDArray[np.uint8]:
    """Return a part of (H * 3 / 2, W) planes as such planes, copied."""
    height, width = pixels.shape[0] * 2 // 3, pixels.shape[1]
    half = Rect(*(side // 2 for side in kept))
    luma = geometry.cut(pixels[:height], kept)
    if layout == "nv12":
        chroma = [geometry.cut(pixels[height:].reshape(height // 2, width // 2, 2), half)]
    else:
        planes = pixels[height:].reshape(2, height // 2, width // 2)
        chroma = [geometry.cut(plane, half) for plane in planes]
    flat = np.concatenate([plane.ravel() for plane in (luma, *chroma)])
    return flat.reshape(kept.rows * 3 // 2, kept.columns)
