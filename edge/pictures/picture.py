"""Decodes pictures from untrusted bytes: header first, then within a memory limit.

Pure; knows no camera and no file. The limit is ``max_pixels`` pixels, 6 bytes each: OpenCV returns
3, and holds as many again while it turns or copies them. A JPEG that is larger, or whose decoder
holds more, is decoded at a half or a quarter of its size, up to 4 * ``max_pixels`` pixels.
Runs on the caller's thread.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.pictures import jpeg_end, png
from edge.pictures.headers import KINDS, Header, read_header
from edge.pictures.quiet import quiet

__all__ = [
    "Header",
    "Unreadable",
    "beyond",
    "decode",
    "fitting",
    "memory_bytes",
    "read_header",
    "reduction",
]

MAX_PIXELS: Final = 16_000_000
"""The default limit."""
FILE_BYTES: Final = 4_000_000
"""Of the picture's own bytes; what exceeds them counts as memory, too."""
FLAGS: Final = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
"""By how much the sides are divided."""


class Unreadable(ValueError):
    """Not a picture, or one that may not be decoded; the message fits into a log line."""


def memory_bytes(header: Header, reduced: int = 1) -> int:
    """Return the most memory that decoding takes, beyond the picture's own bytes.

    reduced  by how much a JPEG's sides are divided; other pictures are decoded whole
    """
    divisor = reduced if header.kind == "jpeg" else 1
    result = 3 * -(-header.width // divisor) * -(-header.height // divisor)
    return result + max(result, header.decoder_bytes)


def reduction(width: int, height: int, useful: tuple[int, int] | None) -> int:
    """Return by how much a JPEG may be scaled down and still have ``useful`` pixels."""
    if useful is None:
        return 1
    return max((n for n in FLAGS if width >= n * useful[0] and height >= n * useful[1]), default=1)


def beyond(content: NDArray[np.uint8], useful: tuple[int, int] | None) -> int:
    """Return ``reduction`` of the picture in (N,) bytes, seen upright; 1 where it is none."""
    header = read_header(content) if useful else None
    if header is None or useful is None:
        return 1
    most = max(useful)  # its EXIF may turn it
    return reduction(header.width, header.height, (most, most))


def fitting(header: Header, max_pixels: int, reduced: int = 1, file_bytes: int = 0) -> int:
    """Return ``reduced``, or the next of 1, 2, 4, 8 at which a picture is within its limits.

    Raises Unreadable if there is none.
    """
    jpeg = header.kind == "jpeg"
    size = f"{header.width}x{header.height} pixels"
    if header.pixels > (4 * max_pixels if jpeg else max_pixels):
        most = f"{max_pixels}, or four times as many in a JPEG" if jpeg else str(max_pixels)
        raise Unreadable(f"{size}: expected at most {most} (camera.max_pixels)")
    limit_bytes = 6 * max_pixels - max(0, file_bytes - FILE_BYTES)
    for way in FLAGS if jpeg else (1,):
        if (way >= reduced or not jpeg) and memory_bytes(header, way) <= limit_bytes:
            return way
    needed = (memory_bytes(header, 8) + file_bytes) / 1e6
    raise Unreadable(
        f"{size} need {needed:.0f} MB to decode: expected at most {6 * max_pixels / 1e6:.0f} MB,"
        " 6 bytes for each of camera.max_pixels"
    )


def decode(content: NDArray[np.uint8], max_pixels: int, reduced: int = 1) -> NDArray[np.uint8]:
    """Return the picture in (N,) bytes as (H, W, 3) BGR, turned as its EXIF says.

    max_pixels  of the picture; a JPEG may have four times as many
    reduced     1, 2, 4 or 8: the sides of a JPEG are divided by it, or by more where only that is
                within the limit; rounded up
    Raises Unreadable.
    """
    header = read_header(content)
    if header is None:
        raise Unreadable(f"not a picture, or damaged: expected {KINDS}")
    held_bytes = len(content) * (2 if header.kind == "png" else 1)
    flags = FLAGS[fitting(header, max_pixels, reduced, held_bytes)]
    try:
        with quiet():
            pixels = _pixels(content, header, flags)
    except (cv2.error, MemoryError) as exc:
        raise Unreadable("not a readable picture") from exc
    if pixels is None:
        raise Unreadable("not a readable picture")
    return pixels


def _pixels(content: NDArray[np.uint8], header: Header, flags: int) -> NDArray[np.uint8] | None:
    if header.kind == "jpeg":
        return jpeg_end.decode(content, header, flags)
    if header.kind == "png":
        alone = png.stripped(content)
        if alone is None:
            return None
        content = alone
    pixels = cv2.imdecode(content, flags)
    return None if pixels is None else np.asarray(pixels, np.uint8)
