"""PNG with nothing in it but its picture: what decoders do with the rest has no bound.

OpenCV allocates what a chunk claims before it reads it (61 bytes took 2 GB), unpacks texts and
profiles, and puts animations together on a canvas; libpng unpacks all image data there are,
whatever the picture has room for. Pure. Source: PNG (W3C, third edition), sections 5 and 10.
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
"""The largest pictures are written in some thousands."""
SMALL_BYTES: Final = 65_536
"""Of other chunks that are kept; and of image data that unpack to too little to matter (68 MB)."""
CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PIECE_BYTES: Final = 1 << 20


def stripped(content: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Return the (N,) bytes of a PNG with the chunks of its first picture alone.

    None where it is none: a chunk longer than the file, more image data than the picture has room
    for, a header that is not the first chunk or of no known kind.
    """
    view = np.ascontiguousarray(content).data
    parts: list[bytes | memoryview] = [SIGNATURE]
    packed: list[memoryview] = []
    at = len(SIGNATURE)
    seen: set[bytes] = set()
    for _ in range(CHUNKS_MAX):
        if at == len(view) and b"IDAT" in seen:  # whole, but for its end
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
    # Interlaced, a picture is seven smaller ones: a byte a row more, and rows rounded up.
    return int(row * height + (16 * height + 2 * width if interlaced else 0) + SMALL_BYTES)


def _fits(packed: list[memoryview], room: int) -> bool:
    """Say whether image data unpack to no more than ``room`` bytes; damage is the decoder's."""
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
