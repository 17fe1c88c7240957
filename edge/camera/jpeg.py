"""Pictures that a camera sends as JPEG: whole or cut short, decoded no larger than is useful.

Pure; knows no camera. The decoder fills what is missing of a picture that was cut short with grey
and says nothing: only the end marker tells. Scaling down by 2, 4 or 8 is part of its transform
and saves most of the time. OpenCV decodes into no buffer of ours from Python: each decoded
picture is a new array.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.camera import picture

START: Final = b"\xff\xd8"
END: Final = b"\xff\xd9"
"""Stands nowhere else in the picture: there, every 0xff is followed by 0. Source: T.81, B.1.1."""
PADDING_BYTES: Final = 4096
"""Some cameras pad with zeros after the end; no further than this is looked for it."""


def is_whole(jpeg: NDArray[np.uint8]) -> bool:
    """Say whether (N,) bytes begin and end as a JPEG does."""
    return jpeg[:2].tobytes() == START and END in jpeg[-PADDING_BYTES:].tobytes()


def reduction(width: int, height: int, useful: tuple[int, int] | None) -> int:
    """Return by how much a picture may be scaled down and still have ``useful`` pixels."""
    if useful is None:
        return 1
    return max(
        (n for n in picture.FLAGS if width >= n * useful[0] and height >= n * useful[1]), default=1
    )


def decode(
    jpeg: NDArray[np.uint8], reduced: int = 1, max_pixels: int = picture.MAX_PIXELS
) -> NDArray[np.uint8] | None:
    """Return (H, W, 3) BGR, the sides a ``reduced``-th and rounded up; None if undecodable.

    Smaller still where only that is within ``picture.fitting``'s limits.
    """
    try:
        return picture.decode(jpeg, max_pixels, reduced)
    except picture.Unreadable:
        return None
