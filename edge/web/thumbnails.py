"""Small pictures of cases: decoded by the product's bounded decoder, kept in bounded memory.

Rule: what comes from the folder is as hostile as any file: read through no link, bounded in bytes,
judged by its header before it is decoded. Runs on threads of work.py.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge.cases.archive import PICTURE_MAX_BYTES
from edge.cases.names import PICTURE
from edge.cases.store import Store
from edge.errors import EdgeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEPT_BYTES: Final = 8_000_000
"""Of thumbnails: some 800 of 240 pixels."""
WIDTH_MIN, WIDTH_MAX = 16, 1024
QUALITY: Final = 80
Tag = str


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A JPEG, and what changes with it; no content where the reader has it already."""

    content: bytes
    tag: Tag


class Thumbnails:
    """Makes and keeps them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Tag, bytes] = OrderedDict()  # [1]
        self._bytes = 0  # [1]
        self._changing = threading.Lock()  # [1]
        self._decoding = threading.Lock()  # [2] of one large picture at a time

    def get(self, folder: Path, name: str, width: int | None, known: Tag) -> Thumbnail:
        """Return the picture of a case, at most ``width`` pixels wide; None: as it is.

        known  a tag that the reader has
        Raises FileNotFoundError; EdgeError where it cannot be shown; OSError.
        """
        with Store(folder) as store:
            label = store.where(name)
            if label is None:
                raise FileNotFoundError(name)
            with store.folder(label) as inside:
                size = inside.size(name + PICTURE)
                content = inside.read(name + PICTURE, PICTURE_MAX_BYTES) if size else b""
        tag = f'"{hashlib.sha256(content).hexdigest()[:24]}-{width or 0}"'
        if tag == known:
            return Thumbnail(b"", tag)
        if width is None:
            _check(content, name)
            return Thumbnail(content, tag)
        with self._changing:
            if tag in self._kept:
                self._kept.move_to_end(tag)
                return Thumbnail(self._kept[tag], tag)
        with self._decoding:
            small = _small(content, width, name)
        self._keep(tag, small)
        return Thumbnail(small, tag)

    def _keep(self, tag: Tag, small: bytes) -> None:
        with self._changing:
            if tag not in self._kept:
                self._kept[tag] = small
                self._bytes += len(small)
            while self._bytes > KEPT_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])


def decoded(content: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return a picture, BGR; a JPEG no larger than is useful for a longer side of ``side``.

    Raises picture.Unreadable.
    """
    from edge.pictures import picture  # OpenCV, which a page that only looks does not need

    header = picture.read_header(content) if len(content) else None
    if header is None:
        raise picture.Unreadable("not a picture, or damaged")
    longer = max(header.width, header.height)
    reduced = next((way for way in (8, 4, 2) if longer // way >= side), 1)
    return picture.decode(content, picture.MAX_PIXELS, reduced)


def _check(content: bytes, name: str) -> None:
    """Raise EdgeError unless the content begins as a JPEG does."""
    import numpy as np

    from edge.pictures.headers import read_header

    header = read_header(np.frombuffer(content, np.uint8)) if content else None
    if header is None or header.kind != "jpeg":
        raise EdgeError("not a picture, or damaged", where=name)


def _small(content: bytes, width: int, name: str) -> bytes:
    import cv2
    import numpy as np

    from edge.pictures.picture import Unreadable

    array = np.frombuffer(content, np.uint8)
    try:
        pixels = decoded(array, 2 * width)  # it may be twice as high as wide
    except Unreadable as exc:
        raise EdgeError(str(exc), where=name) from exc
    scale = width / pixels.shape[1]
    if scale < 1:
        size = (width, max(1, round(pixels.shape[0] * scale)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
