"""Headers of pictures: kind, width, height, and the memory that a decoder would take.

Pure; decodes nothing, and never raises for any bytes. Every walk through markers, chunks or tags
has an end: a picture whose size comes after more of them than ``MAX_STEPS`` is not recognised. If
sizes contradict each other, the largest counts. Sources: T.81; PNG, third edition; RFC 9649; TIFF
6.0 and BigTIFF; netpbm. The memory of decoders was measured with OpenCV 4.14, on 16 megapixels.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["jpeg", "png", "bmp", "webp", "tiff", "pnm"]
KINDS: Final = "JPEG, PNG, BMP, WebP, TIFF or PNM"
MAX_STEPS: Final = 4096
"""Segments, chunks or tags; pictures have tens of them, with a large colour profile hundreds."""
MAX_SCANS: Final = 50
"""Of a JPEG; each one costs a pass over the whole picture. Usual are ten."""
SKIP_BYTES: Final = 65_536
"""Between two segments of a JPEG, and of the header of a PNM, comments included."""
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MULTI_SCAN: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_BARE: Final = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
"""Markers of JPEG: frames, progressive frames, and those without a length."""
_MARKER: Final = re.compile(rb"\xff[^\xff]", re.DOTALL)
_NUMBER: Final = rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})"
_PNM: Final = re.compile(rb"P[1-6]" + 2 * _NUMBER)
_TAGS: Final = (256, 257, 258, 277, 278, 322, 323)
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _ROWS, _TILE_WIDTH, _TILE_HEIGHT = _TAGS
_INTEGERS: Final = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q"}
"""The types of integers in a TIFF, as ``struct`` names them."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a picture.

    width, height  pixels, as stored: EXIF may turn them
    decoder_bytes  memory of its decoder besides the pixels that it returns
    scan_at        where the first scan of a JPEG begins
    """

    kind: Kind
    width: int
    height: int
    decoder_bytes: int = 0
    scan_at: int = 0

    @property
    def pixels(self) -> int:
        """Return width times height."""
        return self.width * self.height


def read_header(content: NDArray[np.uint8]) -> Header | None:
    """Return the header of a picture in (N,) bytes; None if they are of no known kind."""
    view = np.ascontiguousarray(content).data
    begin = bytes(view[:12])
    try:
        header = _read(begin, view)
    except (IndexError, OverflowError, struct.error):  # it ends too early
        return None
    return header if header and header.width > 0 and header.height > 0 else None


def _read(begin: bytes, view: memoryview) -> Header | None:
    if begin.startswith(b"\xff\xd8"):
        return _jpeg(view)
    if begin.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(view)
    if begin.startswith(b"BM"):
        return _bmp(view)
    if begin.startswith(b"RIFF") and begin.endswith(b"WEBP"):
        return _webp(view)
    if begin[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff(begin, view)
    if match := _PNM.match(bytes(view[:SKIP_BYTES])):
        return Header("pnm", int(match[1]), int(match[2]))
    return None


def _jpeg(view: memoryview) -> Header | None:
    """Walk from marker to marker up to the first scan."""
    at, frame = 2, None
    for _ in range(MAX_STEPS):
        if view[at] != 0xFF or view[at + 1] == 0xFF:  # garbage or fill bytes: decoders skip both
            near = bytes(view[at : at + SKIP_BYTES])
            marker_at = _MARKER.search(near)
            if not marker_at:
                return None
            at += marker_at.end() - 2
        marker, at = view[at + 1], at + 2
        if marker in _BARE:
            continue
        if marker == 0xD9:
            return None
        if marker == 0xDA:
            return _jpeg_size(view, *frame, at) if frame else None
        if marker in _FRAMES and frame is None:
            frame = (marker, at)
        at += max(2, _big(view, at, 2))
    return None


def _jpeg_size(view: memoryview, marker: int, at: int, scan_at: int) -> Header | None:
    """Return the header of the frame at ``at``, whose first scan is at ``scan_at``."""
    height, width, count = _big(view, at + 3, 2), _big(view, at + 5, 2), view[at + 7]
    if marker not in _MULTI_SCAN and view[scan_at + 2] >= count:
        return Header("jpeg", width, height, 0, scan_at)
    if bytes(view).count(b"\xff\xda") > MAX_SCANS:
        return None
    factors = [view[at + 9 + 3 * n] for n in range(min(count, 4))]
    across = max((f >> 4 for f in factors), default=1) or 1
    down = max((f & 15 for f in factors), default=1) or 1
    share = sum((f >> 4) * (f & 15) for f in factors) / (across * down)
    whole = (width + 8 * across) * (height + 8 * down)  # of whole blocks
    return Header("jpeg", width, height, round(2 * share * whole), scan_at)


def _png(view: memoryview) -> Header | None:
    if bytes(view[12:16]) != b"IHDR":
        return None
    return Header("png", _big(view, 16, 4), _big(view, 20, 4))


def _bmp(view: memoryview) -> Header:
    if _little(view, 14, 4) == 12:
        return Header("bmp", _little(view, 18, 2), _little(view, 20, 2))
    width, height = struct.unpack_from("<ii", view, 18)
    return Header("bmp", abs(width), abs(height))


def _webp(view: memoryview) -> Header | None:
    """Walk through the chunks, also those inside a frame: the largest size counts."""
    at, sizes, bytes_a_pixel = 12, [(0, 0)], 0
    for _ in range(MAX_STEPS):
        kind, length = bytes(view[at : at + 4]), 0
        if len(view) < at + 8:
            break
        length = _little(view, at + 4, 4)
        at += 8
        if kind == b"VP8X" and len(view) >= at + 10:
            sizes.append((1 + _little(view, at + 4, 3), 1 + _little(view, at + 7, 3)))
            bytes_a_pixel = max(bytes_a_pixel, 8 if view[at] & 2 else 4 if view[at] & 16 else 0)
        elif kind == b"VP8 " and len(view) >= at + 10:
            sizes.append((_little(view, at + 6, 2) & 0x3FFF, _little(view, at + 8, 2) & 0x3FFF))
        elif kind == b"VP8L" and len(view) >= at + 5:
            bits = _little(view, at + 1, 4)
            sizes.append((1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)))
            bytes_a_pixel = max(bytes_a_pixel, 4)
        elif kind == b"ANMF" and len(view) >= at + 16:
            sizes.append((1 + _little(view, at + 6, 3), 1 + _little(view, at + 9, 3)))
            length, bytes_a_pixel = 16, 8  # go on inside
        at += length + (length & 1)
    width, height = max(w for w, _ in sizes), max(h for _, h in sizes)
    return Header("webp", width, height, bytes_a_pixel * width * height)


def _tiff(begin: bytes, view: memoryview) -> Header | None:
    """Read the first directory; a decoder holds a whole strip or tile, raw and as RGBA."""
    order = "<" if begin[:1] == b"I" else ">"
    count, entry, value = ("Q", "HHQ", "Q") if 43 in begin[2:4] else ("H", "HHI", "I")
    (at,) = struct.unpack_from(order + value, view, 8 if value == "Q" else 4)
    (entries,) = struct.unpack_from(order + count, view, at)
    at, size = at + struct.calcsize("=" + count), struct.calcsize("=" + value)
    if entries > MAX_STEPS:
        return None
    tags: dict[int, int] = {}
    for _ in range(entries):
        tag, form, number = struct.unpack_from(order + entry, view, at)
        at += struct.calcsize("=" + entry)
        if tag in _TAGS and form in _INTEGERS and number:
            inside = number * struct.calcsize("=" + _INTEGERS[form]) <= size
            place = at if inside else struct.unpack_from(order + value, view, at)[0]
            read = struct.unpack_from(f"{order}{min(number, 8)}{_INTEGERS[form]}", view, place)
            tags[tag] = max(tags.get(tag, 0), *read)
        at += size
    width, height = tags.get(_WIDTH, 0), tags.get(_HEIGHT, 0)
    rows = tags.get(_ROWS, 0)
    if not 0 < rows < 0xFFFFFFFF:
        rows = height
    piece = max(width * rows, tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_HEIGHT, 0))
    stored = -(-tags.get(_BITS, 1) * tags.get(_SAMPLES, 3) // 8)
    return Header("tiff", width, height, piece * (5 + stored))


def _big(view: memoryview, at: int, count: int) -> int:
    if len(view) < at + count:
        raise IndexError
    return int.from_bytes(view[at : at + count], "big")


def _little(view: memoryview, at: int, count: int) -> int:
    if len(view) < at + count:
        raise IndexError
    return int.from_bytes(view[at : at + count], "little")
