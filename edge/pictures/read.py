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
    path: Path, max_pixels: int = picture.MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> NDArray[np.uint8]:
    """Return the picture in ``path`` as (H, W, 3) BGR uint8, turned as its EXIF says.

    Raises picture.Unreadable, whose message fits after the file's name.
    """
    try:
        content = files.read(path, max_bytes)
    except FileNotFoundError as exc:
        raise picture.Unreadable("no such file") from exc
    except OSError as exc:
        raise picture.Unreadable(exc.strerror or str(exc)) from exc
    return picture.decode(np.frombuffer(content, np.uint8), max_pixels)
