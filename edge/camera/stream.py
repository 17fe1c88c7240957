"""Network streams: RTSP, HTTP, and whatever else FFmpeg reads.

Motion JPEG is kept as it came, and decoded here on the reader's thread: frames that nobody takes
cost nothing, one that was cut short is told by its end marker, and no more is decoded than is
useful. Anything else must be decoded frame by frame, on the grabber's thread.

It does not know of a new size inside such a stream: OpenCV 4.14 scales the picture to the first
size; 4.6 and 4.10 (Debian 12 and 13) show the last picture of the old size for ever. Cameras end
the connection instead, which is seen.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera import controls, jpeg
from edge.camera.ffmpeg import KEY_FRAMES, open_stream
from edge.camera.grabber import BAD_FRAMES, Grabber
from edge.errors import CameraError
from edge.types import Asked, CameraMode, Control, Frame, Seconds

log = logging.getLogger(__name__)
STILL_S: Final = 1.0
"""Longest wait for a picture in full size: nobody else is seen to meanwhile."""


class StreamCamera:
    """A live source on the network.

    Raises CameraError where it cannot be opened or gives no frame within ``timeout_s``.
    """

    def __init__(self, asked: Asked) -> None:
        until = time.monotonic() + asked.timeout_s
        self._asked = asked
        capture = open_stream(asked)
        self._capture = capture  # the grabber's, but for its fence
        self._is_jpeg = capture.keep_jpeg()
        fps = capture.get(cv2.CAP_PROP_FPS)
        fps = fps if 0 < fps <= 240 and not self._is_jpeg else 0.0  # which only claims to know
        form = "mjpeg" if self._is_jpeg else "bgr"
        self.mode = CameraMode("stream", asked.shown, 0, 0, fps, form)
        self._reduced = 1
        self._taken_total = 0
        self._undecodable_total = self._undecodable = 0  # ever, in a row
        self._grabber = Grabber(capture, self._is_jpeg, asked.timeout_s, asked.shown)
        try:
            first = self._grabber.peek(until - time.monotonic())
            while first is None or not self._adopt(first.pixels):
                if first is None:
                    what = "opened, but gives no frame"
                    raise CameraError(what, reason="stalled", where=asked.shown, mend=KEY_FRAMES)
                self._grabber.take(0.0)
                self._count_corrupt()
                first = self._grabber.peek(until - time.monotonic())
        except CameraError:
            self.close()
            raise

    @property
    def corrupt_total(self) -> int:
        """Frames that came and could not be decoded."""
        return self._grabber.corrupt_total + self._undecodable_total

    def read(self, timeout_s: Seconds) -> Frame | None:
        """Return the newest frame; its pixels are overwritten after the next ``read``."""
        self._capture.check_memory(self._asked.shown)
        until = time.monotonic() + timeout_s
        while picture := self._grabber.take(until - time.monotonic()):
            pixels = self._decode(picture.pixels)
            if pixels is not None:
                self._undecodable = 0
                sequence = self._sequence(picture.replaced_total)
                self._taken_total += 1
                return Frame(sequence, picture.captured_ns, pixels, "bgr", self._asked.view)
            self._count_corrupt()
        return None

    def still(self) -> Frame | None:
        """Return the newest picture in full size where ``read`` gives it smaller, else None."""
        if self._reduced == 1:
            return None
        picture = self._grabber.peek(min(STILL_S, self._asked.timeout_s))
        pixels = jpeg.decode(picture.pixels) if picture else None
        if picture is None or pixels is None:
            return None
        sequence = self._sequence(picture.replaced_total)
        return Frame(sequence, picture.captured_ns, pixels, "bgr", self._asked.view)

    def control(self, wanted: Mapping[str, Control]) -> None:
        """Raise CameraError: a stream is as its server makes it."""
        controls.check(wanted, (), self.mode.source)

    def close(self) -> None:
        """End the connection, within a second: a grab that lasts ends it when it returns."""
        self._grabber.stop()

    def _sequence(self, replaced_total: int) -> int:
        """Return the number of the next frame: a gap is just the frames replaced unseen."""
        return self._asked.first_sequence + self._taken_total + replaced_total

    def _count_corrupt(self) -> None:
        """Count a picture that looked whole and cannot be decoded. Raises CameraError at last."""
        self._undecodable_total += 1
        self._undecodable += 1
        if self._undecodable >= BAD_FRAMES:
            what = f"{BAD_FRAMES} frames in a row are corrupt"
            raise CameraError(what, reason="corrupt", where=self.mode.source)

    def _decode(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Return what came as BGR, whatever its size is now; None where it is corrupt."""
        pixels = jpeg.decode(picture, self._reduced) if self._is_jpeg else picture
        if pixels is None or pixels.shape[:2] == (self.mode.height, self.mode.width):
            return pixels
        before = self.mode
        if not self._adopt(picture):
            return None
        log.warning(
            "%s: the picture is now %d x %d, was %d x %d",
            *(before.source, self.mode.width, self.mode.height, before.width, before.height),
        )
        return jpeg.decode(picture, self._reduced) if self._is_jpeg else picture

    def _adopt(self, picture: NDArray[np.uint8]) -> bool:
        """Learn the size from a picture; say whether that could be decoded."""
        whole = jpeg.decode(picture) if self._is_jpeg else picture
        if whole is None:
            return False
        height, width = whole.shape[:2]
        if self._is_jpeg:
            self._reduced = jpeg.reduction(width, height, self._asked.useful)
        self.mode = replace(
            self.mode,
            width=-(-width // self._reduced),
            height=-(-height // self._reduced),
            still=(width, height) if self._reduced > 1 else None,
        )
        return True
