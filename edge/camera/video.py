"""A film as a camera, in real time by its own timestamps, or as fast as it is read.

No thread: a late reader skips the frames whose time has passed, which are decoded but never
converted to pixels. A film that decodes slower than it plays runs slower, its gaps counted.

FFmpeg gets the open file, never its name, in which it would see a protocol, a pattern or options.
At its end the film is rewound; if it does not start with its first frame then, it is opened again.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera import controls
from edge.camera.capture import Capture
from edge.camera.ffmpeg import FILM_S, open_film
from edge.camera.pace import Steps
from edge.camera.spec import CameraSpec
from edge.errors import CameraError, CameraReason
from edge.files import open_regular
from edge.frames import CameraMode, ControlValue, EndOfSource, Frame, Seconds

ATTEMPTS: Final = 32
"""A failed grab is a corrupt frame if one of the next few succeeds, else the end."""
INDEX_SLACK: Final = 2
"""Frames by which the estimated count of some containers may be off."""

log = logging.getLogger(__name__)


class VideoCamera:
    """The frames of a film.

    A frame that cannot be decoded is counted and skipped; so are those missing from a file
    that ends before its index says. Raises CameraError if it cannot be opened.
    """

    def __init__(self, path: Path, spec: CameraSpec) -> None:
        self._spec, self._view, self._where = spec, spec.view, str(path)
        try:
            self._file = open_regular(path)
        except OSError as exc:
            reason: CameraReason = "denied" if isinstance(exc, PermissionError) else "unsupported"
            what = exc.strerror or str(exc)
            raise CameraError(what, reason=reason, where=self._where) from exc
        try:
            self._capture = self._open()
        except BaseException:
            os.close(self._file)
            raise
        claimed = self._capture.get(cv2.CAP_PROP_FPS)
        self._claimed_fps = claimed if claimed > 0 else spec.config.fps
        fps = claimed if 0 < claimed <= 1000 else spec.config.fps
        width, height = self._capture.size
        self.mode = CameraMode("file", self._where, width, height, fps, "bgr")
        self.corrupt_total = 0
        self._pixels: NDArray[np.uint8] = np.empty((height, width, 3), np.uint8)
        self._steps = Steps(fps)
        self._sequence = spec.first_sequence - 1  # of the frame that was grabbed last
        self._due_ns: int | None = None  # when the grabbed frame is due; None once it was read
        self._first_ms = 0.0  # the timestamp of the first frame
        self._before_ns: int | None = None  # when the one before was due; None before the first
        self._step_ns = 0  # from the frame before to this one
        self._in_pass = self._corrupt_in_pass = 0  # frames of this pass through the film
        self._last_ms = 0.0  # the latest timestamp of this pass
        self._bad = 0  # in a row: grabbed, but not decodable
        self._is_short = False  # already logged
        try:
            self._next()
            self._first_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        except BaseException:
            self.close()
            raise

    def read(self, timeout_s: Seconds) -> Frame | None:
        """Return the frame now due; its pixels are overwritten by the next ``read``."""
        self._capture.check_memory(self._where)
        due_ns = self._wait(timeout_s)
        if due_ns is None:
            return None
        self._before_ns, self._due_ns = due_ns, None
        pixels = self._capture.retrieve(self._pixels)
        if pixels is None:
            self.corrupt_total += 1
            self._bad += 1
            if self._bad >= ATTEMPTS:
                raise self._error("no frame can be decoded", "corrupt")
            return None
        self._pixels, self._bad = pixels, 0
        return Frame(self._sequence, due_ns, pixels, "bgr", self._view)

    def still(self) -> Frame | None:
        """Return None: every frame is whole."""
        return None

    def control(self, values: Mapping[str, ControlValue]) -> None:
        """Raise CameraError: a recorded source has no controls."""
        controls.check(values, (), self.mode.source)

    def close(self) -> None:
        """Release the file."""
        self._capture.release()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> Capture:
        return open_film(f"/proc/self/fd/{self._file}", self._spec, self._where)

    def _wait(self, timeout_s: Seconds) -> int | None:
        """Grab the frame that is due now; return when it is due, or None after ``timeout_s``."""
        until_ns = time.monotonic_ns() + round(timeout_s * 1e9)
        if self._before_ns is None:
            self._before_ns = self._due_ns = time.monotonic_ns()
        elif self._due_ns is None:
            self._due_ns = self._before_ns + self._next()
        if self._spec.config.pace == "fast":
            self._due_ns = time.monotonic_ns()
            return self._due_ns
        usual_ns = round(self._steps.usual_s * 1e9)
        while (late_ns := time.monotonic_ns() - self._due_ns) >= max(self._step_ns, usual_ns):
            if self._due_ns + late_ns > until_ns:  # it cannot catch up: go on from here
                self._sequence += late_ns // usual_ns
                self._due_ns += late_ns
                return self._due_ns
            self._due_ns += self._next()
        if self._due_ns > until_ns:
            time.sleep(max(0, until_ns - time.monotonic_ns()) / 1e9)
            return None
        time.sleep(max(0, self._due_ns - time.monotonic_ns()) / 1e9)
        return self._due_ns

    def _next(self) -> int:
        """Grab the next frame; return the nanoseconds from the one before to this one."""
        self._grab()
        self._sequence += 1
        position_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        self._last_ms = max(self._last_ms, position_ms)
        self._step_ns = round(self._steps.to(position_ms) * 1e9)
        return self._step_ns

    def _grab(self) -> None:
        """Move to the next frame, from the end to the beginning if the source loops."""
        until = time.monotonic() + FILM_S
        for failed in range(ATTEMPTS):
            if time.monotonic() > until:
                break
            if self._capture.grab():
                self._in_pass += 1
                self._corrupt_in_pass += failed
                self.corrupt_total += failed
                return
        self._count_missing()
        if not self._in_pass:
            raise self._error("no frame can be decoded", "corrupt")
        self._in_pass = self._corrupt_in_pass = 0
        self._last_ms = 0.0
        if not self._spec.config.loop:
            raise EndOfSource
        self._steps.begin_again()
        if self._is_rewound():
            self._in_pass = 1
            return
        self._capture.release()
        self._capture = self._open()
        self._grab()

    def _is_rewound(self) -> bool:
        """Rewind; return whether the first frame is the grabbed one again."""
        if not self._capture.rewind() or not self._capture.grab():
            return False
        return self._capture.get(cv2.CAP_PROP_POS_MSEC) == self._first_ms

    def _count_missing(self) -> None:
        """Count the frames that, by the index, should come after the last one.

        Some containers say how long they are, others how many frames they have; OpenCV derives the
        one from the other, wrongly if frames differ in length.
        """
        frames = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        missing = frames - self._in_pass - self._corrupt_in_pass
        missing_s = frames / self._claimed_fps - self._last_ms / 1e3
        if missing > INDEX_SLACK and missing_s * self._claimed_fps > INDEX_SLACK + 1:
            self.corrupt_total += missing
            if not self._is_short:
                log.warning("%s: ends %d frames before its index says", self._where, missing)
            self._is_short = True

    def _error(self, what: str, reason: CameraReason) -> CameraError:
        return CameraError(what, reason=reason, where=self._where)
