"""Pictures that a camera sends as JPEG: decoded no larger than is useful, refused if cut short.

Pure; knows no camera. Scaling down by 2, 4 or 8 is part of the decoder's transform and saves most
of the time. OpenCV decodes into no buffer of ours from Python: each decoded picture is a new array.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.pictures import jpeg_end, picture

START: Final = b"\xff\xd8"
END: Final = jpeg_end.END


def is_whole(jpeg: NDArray[np.uint8]) -> bool:
    """Return whether (N,) bytes can be a whole JPEG.

    False if they are no JPEG, or have several scans and no end marker. For one scan without it,
    only ``decode`` can tell.
    """
    header = picture.read_header(jpeg)
    if header is None or header.kind != "jpeg":
        return False
    return not header.decoder_bytes or jpeg_end.has_end(jpeg, header.scan_at)


def decode(
    jpeg: NDArray[np.uint8], reduced: int = 1, max_pixels: int = picture.MAX_PIXELS
) -> NDArray[np.uint8] | None:
    """Return (H, W, 3) BGR, sides divided by ``reduced`` and rounded up; None if undecodable.

    Smaller still if only that is within ``picture.fitting``'s limits.
    """
    try:
        return picture.decode(jpeg, max_pixels, reduced)
    except picture.Unreadable:
        return None
