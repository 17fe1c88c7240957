"""A video file as a camera, in real time or as fast as it is asked for.

No thread: a late reader skips the frames whose time has passed, which are decoded but never
converted to pixels. A film that decodes slower than it plays is shown slower, its gaps counted.
"""

from __future__ import annotations

import logging
import math
import time
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

ATTEMPTS: Final = 32
"""A failed grab is a corrupt frame if one of the next few succeeds, else the end."""
INDEX_SLACK: Final = 2
"""Frames by which the count that some containers estimate may be off."""

log = logging.getLogger(__name__)


class VideoCamera:
    """The frames of a video file.

    A frame that cannot be decoded is counted and skipped; so are those missing from a file
    that ends before its index says.
    """

    def __init__(self, path: Path, asked: Asked) -> None:
        self._path, self._loop, self._view = path, asked.loop, asked.view
        self._first = asked.first_sequence
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        if not self._capture.isOpened() or not math.isfinite(fps) or not 0 < fps <= 1000:
            raise CameraError(
                "not a video that can be decoded",
                reason="unsupported",
                where=str(path),
                mend="try it with ffprobe",
            )
        width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self._frames = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.mode = CameraMode("file", str(path), width, height, fps, "bgr")
        self.corrupt_total = 0
        self._pixels: NDArray[np.uint8] = np.empty((height, width, 3), np.uint8)
        self._pace = Pace(fps, asked.fast)
        self._taken = 0  # frames taken from the pace
        self._in_pass = 0  # frames decoded in this pass through the file
        self._corrupt_in_pass = 0

    def read(self, timeout_s: Seconds) -> Frame | None:
        """Return the frame now due; its pixels are overwritten by the next ``read``."""
        due = self._pace.wait(timeout_s)
        if due is None:
            return None
        number, captured_ns = due
        until = time.monotonic() + timeout_s
        while self._taken <= number:
            self._grab()
            self._taken += 1
            if time.monotonic() > until:  # no hope of catching up: go on from here
                self._taken = number + 1
        decoded, pixels = self._capture.retrieve(self._pixels)
        if not decoded:
            self.corrupt_total += 1
            return None
        self._pixels = np.asarray(pixels, np.uint8)
        return Frame(self._first + number, captured_ns, self._pixels, "bgr", self._view)

    def still(self) -> Frame | None:
        """Return None: every frame is whole."""
        return None

    def control(self, wanted: Mapping[str, Control]) -> None:
        """Raise CameraError: what is recorded cannot be exposed anew."""
        controls.check(wanted, (), self.mode.source)

    def close(self) -> None:
        """Release the file."""
        self._capture.release()

    def _grab(self) -> None:
        """Move to the next frame, from the end to the beginning where the source loops."""
        for failed in range(ATTEMPTS):
            if self._capture.grab():
                self._in_pass += 1
                self._corrupt_in_pass += failed
                self.corrupt_total += failed
                return
        missing = self._frames - self._in_pass - self._corrupt_in_pass
        if missing > INDEX_SLACK:
            self.corrupt_total += missing
            log.warning("%s: ends %d frames before its index says", self._path, missing)
        if not self._in_pass:
            raise CameraError("no frame can be decoded", reason="corrupt", where=str(self._path))
        self._in_pass = self._corrupt_in_pass = 0
        if not self._loop:
            raise EndOfSource
        self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
        self._grab()
