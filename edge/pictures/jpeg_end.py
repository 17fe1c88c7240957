"""Decodes whole JPEGs that lack an end marker or have zeros after it; refuses those cut short.

Some cameras never send the end marker, others pad what they send. Only the decoder can tell whether
a picture without one is whole: it gets a few bytes more, which complete a whole picture. OpenCV
refuses one that is not, except older versions (Debian's 4.6 and 4.10), which return whatever was in
memory; there an end marker is added, so that libjpeg fills the missing part with grey.
Pure. Costs 0.02 ms for 100 kB without an end marker, else 0.001 ms. Source: T.81, B.1.1.
"""

from __future__ import annotations

import functools
import re
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.pictures.headers import Header

END: Final = b"\xff\xd9"
"""Never inside a scan: there, 0 or a restart marker follows every 0xff."""
_END: Final = re.compile(END)
"""Finds it without a copy of the bytes."""
NEAR_BYTES: Final = 4096
"""Searched first: nearly every picture has its end there."""
SPARE: Final = bytes(16)
"""The decoder looks so far ahead; in a picture cut short they are a block or less."""
GREY: Final = 128


def has_end(content: NDArray[np.uint8], scan_at: int) -> bool:
    """Return whether an end marker comes after ``scan_at``, where the first scan begins."""
    near = max(scan_at, len(content) - NEAR_BYTES)
    return END in content[near:].tobytes() or bool(_END.search(content.data, scan_at, near + 1))


def decode(content: NDArray[np.uint8], header: Header, flags: int) -> NDArray[np.uint8] | None:
    """Return the pixels of (N,) bytes; None if they cannot be decoded or were cut short.

    flags  of ``cv2.imdecode``. Raises cv2.error.
    """
    if has_end(content, header.scan_at):
        return _pixels(content, flags)
    if header.decoder_bytes:  # it has several scans: the last ones only refine it
        return None
    data = content.tobytes().rstrip(b"\0")
    if notices_cut():
        return _pixels(np.frombuffer(data + SPARE, np.uint8), flags)
    pixels = _pixels(np.frombuffer(data + END, np.uint8), flags)
    return None if pixels is None or (pixels[-2:, -2:] == GREY).all() else pixels


@functools.cache
def notices_cut() -> bool:
    """Return whether this OpenCV refuses a picture that was cut short."""
    whole = cv2.imencode(".jpg", np.full((64, 64, 3), GREY, np.uint8))[1]
    return cv2.imdecode(whole[:-12], cv2.IMREAD_COLOR) is None


def _pixels(content: NDArray[np.uint8], flags: int) -> NDArray[np.uint8] | None:
    pixels = cv2.imdecode(content, flags)
    return None if pixels is None else np.asarray(pixels, np.uint8)
