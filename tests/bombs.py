"""Small files that promise large pictures; a decoder that believes them takes gigabytes."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

PIXELS: Final = np.full((16, 16, 3), (200, 0, 0), np.uint8)


def encoded(suffix: str, pixels: NDArray[np.uint8] = PIXELS, *parameters: int) -> bytes:
    """Return ``pixels`` as a file of that kind."""
    return cv2.imencode(suffix, pixels, parameters)[1].tobytes()


def jpeg(width: int, height: int, *, progressive: bool = False) -> bytes:
    """Return a JPEG of a few blocks that says it is larger."""
    content = bytearray(encoded(".jpg", PIXELS, cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)))
    at = content.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def png(width: int, height: int) -> bytes:
    """Return a PNG whose header alone is right."""
    content = encoded(".png")
    header = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def png_text(count: int) -> bytes:
    """Return a small PNG with so many compressed texts that become 7.9 MB each.

    libpng refuses one that becomes more than 8 MB, and keeps up to 1,000.
    """
    content = encoded(".png")
    chunk = b"zTXtComment\0\0" + zlib.compress(bytes(7_900_000), 9)
    whole = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return content[:33] + whole * count + content[33:]


def gif(width: int, height: int) -> bytes:
    """Return a GIF of one colour that says it is larger."""
    head = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6)
    frame = b"," + struct.pack("<HHHH", 0, 0, width, height) + b"\0\x02\x02\x4c\x01\0"
    return head + frame + b";"


def packed(inflated: int) -> bytes:
    """Return a ZIP archive with a file of so many zeros."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("cat.jpg"), bytes(inflated), zipfile.ZIP_DEFLATED)
    return out.getvalue()


def webp(width: int, height: int) -> bytes:
    """Return a lossless WebP of one colour, whole: that takes no bits, whatever its size."""
    content = bytearray(encoded(".webp", PIXELS, cv2.IMWRITE_WEBP_QUALITY, 101))
    at = content.index(b"VP8L") + 9
    (bits,) = struct.unpack_from("<I", content, at)
    size = (width - 1) | (height - 1) << 14
    struct.pack_into("<I", content, at, (bits & ~0xFFFFFFF) | size)
    return bytes(content)


def tiff(width: int, height: int, rows: int, *, tile: int = 0) -> bytes:
    """Return a TIFF of strips of ``rows`` or tiles of ``tile`` squared, which share one content."""
    size = tile * tile if tile else width * rows
    data = zlib.compress(bytes(min(size, 2_000_000)))
    count = -(-height // rows)
    lists = struct.pack("<I", 8) * count + struct.pack("<I", len(data)) * count
    first, second = (8, len(data)) if count == 1 else (8 + len(data), 8 + len(data) + 4 * count)
    tags = {256: (1, width), 257: (1, height), 258: (1, 8), 259: (1, 8), 262: (1, 1), 277: (1, 1)}
    if tile:
        tags |= {322: (1, tile), 323: (1, tile), 324: (count, first), 325: (count, second)}
    else:
        tags |= {273: (count, first), 278: (1, rows), 279: (count, second)}
    entries = b"".join(struct.pack("<HHII", tag, 4, *tags[tag]) for tag in sorted(tags))
    begin = struct.pack("<4sI", b"II*\0", 8 + len(data) + len(lists)) + data + lists
    return begin + struct.pack("<H", len(tags)) + entries + bytes(4)


def bmp(width: int, height: int) -> bytes:
    """Return a BMP without most of its rows."""
    content = bytearray(encoded(".bmp"))
    struct.pack_into("<ii", content, 18, width, height)
    return bytes(content)


BOMBS: Final = {
    "strip.tif": tiff(22_000, 22_000, 22_000),
    "strips.tif": tiff(22_000, 22_000, 64),
    "one-strip.tif": tiff(16, 16, 1 << 23),
    "tile.tif": tiff(16, 16, 16, tile=15_000),
    "square.webp": webp(16_383, 16_383),
    "plain.jpg": jpeg(30_000, 30_000),
    "largest.jpg": jpeg(65_500, 65_500),
    "beyond.jpg": jpeg(65_535, 65_535),
    "progressive.jpg": jpeg(7_900, 7_900, progressive=True),
    "wide.png": png(100_000, 100_000),
    "square.png": png(20_000, 20_000),
    "square.bmp": bmp(20_000, 20_000),
    "core.ppm": b"P6\n20000 20000\n255\n" + bytes(1000),
    "text.ppm": b"P3 # a note\n20000\n20000\n255\n1 2 3",
}
"""Name -> content; each is refused by its header. What each promises is more than 100 MB."""
LARGE: Final = {
    "half.jpg": jpeg(7_700, 7_700),
    "limit.png": png(4_000, 4_000),
    "limit.bmp": bmp(4_000, 4_000),
    "limit.webp": webp(3_600, 3_600),
    "limit.tif": tiff(3_900, 3_900, 64),
}
"""The same for what is just within the limit; not all can be decoded."""
