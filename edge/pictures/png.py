"""Strips a PNG to its picture: what decoders do with the other chunks has no bound.

OpenCV allocates what a chunk claims before it reads it (61 bytes took 2 GB), unpacks texts and
profiles, and composes animations on a canvas; libpng unpacks all image data, even more than the
picture has room for. Pure. Source: PNG (W3C, third edition), sections 5 and 10.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
END: Final = b"\0\0\0\0IEND\xaeB`\x82"
KEPT: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"})
CHUNKS_MAX: Final = 20_000
"""The largest pictures have some thousands."""
SMALL_BYTES: Final = 65_536
"""Of each other chunk; and of image data too small to check: they unpack to 68 MB at most."""
CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PIECE_BYTES: Final = 1 << 20


def stripped(content: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Return the (N,) bytes of a PNG with only the chunks of its first picture.

    None if it is malformed: a chunk longer than the file, more image data than the picture has room
    for, a header that is not the first chunk or of an unknown kind.
    """
    view = np.ascontiguousarray(content).data
    parts: list[bytes | memoryview] = [SIGNATURE]
    packed: list[memoryview] = []
    at = len(SIGNATURE)
    seen: set[bytes] = set()
    for _ in range(CHUNKS_MAX):
        if at == len(view) and b"IDAT" in seen:  # whole, only its end is missing
            parts.append(END)
            break
        length, kind = int.from_bytes(view[at : at + 4], "big"), bytes(view[at + 4 : at + 8])
        end = at + 12 + length
        if end > len(view) or (not seen and kind != b"IHDR"):
            return None
        if kind == b"IDAT":
            packed.append(view[at + 8 : end - 4])
        if kind == b"IDAT" or (kind in KEPT and kind not in seen and length <= SMALL_BYTES):
            parts.append(view[at:end])
        seen.add(kind)
        at = end
        if kind == b"IEND":
            break
    else:
        return None
    room = _room(view)
    if room is None or not _fits(packed, room):
        return None
    return np.frombuffer(b"".join(parts), np.uint8)


def _room(view: memoryview) -> int | None:
    """Return how many bytes the image data of the header at byte 16 unpack to, at most."""
    width, height, depth, color, _, _, interlaced = struct.unpack_from(">IIBBBBB", view, 16)
    if color not in CHANNELS or depth not in (1, 2, 4, 8, 16):
        return None
    row = -(-width * CHANNELS[color] * depth // 8) + 1
    # An interlaced picture is seven smaller ones: a byte more for each row, and rows rounded up.
    return int(row * height + (16 * height + 2 * width if interlaced else 0) + SMALL_BYTES)


def _fits(packed: list[memoryview], room: int) -> bool:
    """Return whether image data unpack to at most ``room`` bytes; the decoder finds damage."""
    if sum(map(len, packed)) <= SMALL_BYTES:
        return True
    unpacked, unpack = 0, zlib.decompressobj()
    try:
        for part in packed:
            left: bytes | memoryview = part
            while left and not unpack.eof:
                unpacked += len(unpack.decompress(left, PIECE_BYTES))
                left = unpack.unconsumed_tail
                if unpacked > room:
                    return False
    except zlib.error:
        pass
    return True
