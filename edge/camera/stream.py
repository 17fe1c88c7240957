"""Network streams that FFmpeg reads: RTSP, and HTTP that is not motion JPEG.

They are decoded frame by frame on the grabber's thread; only motion JPEG is kept undecoded.

A new size inside such a stream is not noticed: OpenCV 4.14 scales the picture to the first size;
4.6 and 4.10 (Debian 12 and 13) give the last picture of the old size for ever. Cameras end the
connection instead, which is noticed.
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

from edge.camera import controls
from edge.camera.capture import Capture
from edge.camera.ffmpeg import KEY_FRAMES, open_stream
from edge.camera.grabber import Grabber
from edge.camera.jpegs import JpegCamera
from edge.camera.spec import CameraSpec
from edge.errors import CameraError
from edge.frames import Camera, CameraMode, ControlValue, Frame, Seconds

log = logging.getLogger(__name__)
FIRST_S: Final = 1.0
"""Shortest wait for the first frame, however long the opening took."""


def open_live(spec: CameraSpec, search: str = "") -> Camera:
    """Return the camera at a network address. Raises CameraError.

    search  see ``open_stream``
    """
    until_s = time.monotonic() + spec.timeout_s
    capture = open_stream(spec, search)
    until_s = max(until_s, time.monotonic() + FIRST_S)
    if capture.keep_jpeg():
        grabber = Grabber(capture, True, spec.timeout_s, spec.name)
        return JpegCamera(grabber, spec, until_s, form="mjpeg")
    return StreamCamera(capture, spec, until_s)


class StreamCamera:
    """The frames of an open ``capture``, which it owns from here on.

    until_s  when the first one must have come, on the monotonic clock
    Raises CameraError if none does.
    """

    def __init__(self, capture: Capture, spec: CameraSpec, until_s: Seconds) -> None:
        self._spec, self._view, self._taken_total = spec, spec.view, 0
        fps = capture.get(cv2.CAP_PROP_FPS)
        fps = fps if 0 < fps <= 240 else 0.0  # else the server only claims to know
        self._grabber = Grabber(capture, False, spec.timeout_s, spec.name)
        try:
            first = self._grabber.peek(until_s - time.monotonic())
            if first is None:
                what = "opened, but gives no frame"
                raise CameraError(what, reason="stalled", where=spec.name, hint=KEY_FRAMES)
        except CameraError:
            self.close()
            raise
        height, width = first.pixels.shape[:2]
        self.mode = CameraMode("stream", spec.name, width, height, fps, "bgr")

    @property
    def corrupt_total(self) -> int:
        """Frames that came and could not be decoded."""
        return self._grabber.corrupt_total

    def read(self, timeout_s: Seconds) -> Frame | None:
        """Return the newest frame; its pixels are overwritten after the next ``read``."""
        picture = self._grabber.take(timeout_s)
        if picture is None:
            return None
        self._learn(picture.pixels)
        sequence = self._spec.first_sequence + self._taken_total + picture.replaced_total
        self._taken_total += 1
        return Frame(sequence, picture.captured_ns, picture.pixels, "bgr", self._view)

    def still(self) -> Frame | None:
        """Return None: every frame is whole."""
        return None

    def control(self, values: Mapping[str, ControlValue]) -> None:
        """Raise CameraError: a network source has no controls."""
        controls.check(values, (), self.mode.source)

    def close(self) -> None:
        """End the connection, within a second; a grab that blocks ends it when it returns."""
        self._grabber.stop()

    def _learn(self, pixels: NDArray[np.uint8]) -> None:
        """Take over and log another size of the picture."""
        height, width = pixels.shape[:2]
        before = self.mode
        if (height, width) != (before.height, before.width):
            self.mode = replace(before, width=width, height=height)
            log.warning(
                "%s: the picture is now %d x %d, was %d x %d",
                *(before.source, width, height, before.width, before.height),
            )
