"""A folder of images as a camera: each picture in turn, for one period."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera import controls
from edge.camera.pace import Pace
from edge.errors import CameraError
from edge.types import Asked, CameraMode, Control, EndOfSource, Frame, Seconds

log = logging.getLogger(__name__)
SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})


def read_pixels(path: Path) -> NDArray[np.uint8] | None:
    """Return the picture as (H, W, 3) BGR uint8, turned as its EXIF says; None if unreadable."""
    try:  # not cv2.imread, which crashes on a name that is not UTF-8
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        return None
    return None if pixels is None else np.asarray(pixels, np.uint8)


class ImagesCamera:
    """The pictures of a folder in the order of their names.

    A picture that cannot be read is counted, reported once and skipped.
    Raises CameraError where the folder holds none, or none that can be read.
    """

    def __init__(self, folder: Path, asked: Asked) -> None:
        self._paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
        if not self._paths:
            raise CameraError(
                "no pictures",
                reason="absent",
                where=str(folder),
                expected="files ending in " + ", ".join(sorted(SUFFIXES)),
            )
        self.mode = CameraMode("images", str(folder), 0, 0, asked.fps, "bgr")
        self.corrupt_total = 0
        self._bad: set[Path] = set()
        self._loop, self._view = asked.loop, asked.view
        self._pace = Pace(asked.fps, asked.fast)
        self._next, self._shown = 0, asked.first_sequence

    def read(self, timeout_s: Seconds) -> Frame | None:
        """Return the picture now due, whole and in its own size."""
        due = self._pace.wait(timeout_s)
        if due is None:
            return None
        while True:
            if len(self._bad) == len(self._paths):
                raise CameraError(
                    "no picture can be read", reason="corrupt", where=self.mode.source
                )
            if self._next >= len(self._paths) and not self._loop:
                raise EndOfSource
            path = self._paths[self._next % len(self._paths)]
            self._next += 1
            pixels = None if path in self._bad else read_pixels(path)
            if pixels is not None:
                self._shown += 1  # its own count: no picture is skipped, however late
                return Frame(self._shown - 1, due[1], pixels, "bgr", self._view)
            if path not in self._bad:
                self._bad.add(path)
                self.corrupt_total += 1
                log.warning("%s: not a readable picture, skipped", path)

    def still(self) -> Frame | None:
        """Return None: every frame is whole."""
        return None

    def control(self, wanted: Mapping[str, Control]) -> None:
        """Raise CameraError: what is recorded cannot be exposed anew."""
        controls.check(wanted, (), self.mode.source)

    def close(self) -> None:
        """Nothing to release."""
