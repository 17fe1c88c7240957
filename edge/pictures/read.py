"""Reads one picture from a file, its bytes bounded before they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge import files
from edge.pictures import picture

MAX_BYTES: Final = 32_000_000
"""Of a file; the default limit."""


def read_pixels(
    path: Path,
    max_pixels: int = picture.MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    jpeg_bytes: int | None = None,
    useful: tuple[int, int] | None = None,
) -> NDArray[np.uint8]:
    """Return the picture in ``path`` as (H, W, 3) BGR uint8, turned as its EXIF says.

    jpeg_bytes  a JPEG that takes more memory is decoded at a half, a quarter, an eighth of its size
    useful      (width, height) beyond which pixels are of no use: the same
    Raises picture.Unreadable, whose message fits after the file's name.
    """
    try:
        content = files.read(path, max_bytes)
    except FileNotFoundError as exc:
        raise picture.Unreadable("no such file") from exc
    except OSError as exc:
        raise picture.Unreadable(exc.strerror or str(exc)) from exc
    encoded = np.frombuffer(content, np.uint8)
    reduced = max(_fitting(encoded, jpeg_bytes), picture.beyond(encoded, useful))
    return picture.decode(encoded, max_pixels, reduced)


def _fitting(content: NDArray[np.uint8], most: int | None) -> int:
    """Return by how much a JPEG's sides are divided, so that it takes ``most`` bytes or less."""
    header = None if most is None else picture.read_header(content)
    if header is None or most is None:
        return 1  # decoding says what is wrong
    return next((way for way in picture.FLAGS if picture.memory_bytes(header, way) <= most), 8)
