"""USB cameras (V4L2) and network streams (RTSP, HTTP) through OpenCV.

One grabber thread takes every frame the moment it comes, so that a slow reader sees the newest
and none waits in the driver's queue. Three preallocated buffers go round: one being written,
one newest, one held by the reader. [1] marks what both threads touch; ``_changed`` guards it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera import controls
from edge.errors import CameraError
from edge.types import CameraMode, Frame, Seconds

CLOSE_S: Final = 1.0
"""Longest wait for the grabber, which a server that has fallen silent may hold for long."""


class CaptureCamera:
    """A live source.

    source  /dev/videoN, another device path, or a URL; a URL may hold credentials
    shown   the same without credentials, for messages
    Raises CameraError where it cannot be opened or gives no frame within ``timeout_s``.
    """

    def __init__(
        self, source: str, shown: str, width: int, height: int, fps: float, timeout_s: Seconds
    ) -> None:
        self._shown = shown
        self._live = "://" not in source
        milliseconds = round(timeout_s * 1000)
        if self._live:
            options = [
                *(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*_fourcc(width, height))),
                *(cv2.CAP_PROP_FRAME_WIDTH, width),
                *(cv2.CAP_PROP_FRAME_HEIGHT, height),
                *(cv2.CAP_PROP_FPS, round(fps)),
            ]
            self._capture = cv2.VideoCapture(source, cv2.CAP_V4L2, options)
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 2)
        else:
            options = [
                *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds),
                *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, 2 * milliseconds),  # the daemon notices before
            ]
            self._capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, options)
        decoded, first = self._capture.read() if self._capture.isOpened() else (False, None)
        if not decoded or first is None:
            self._capture.release()
            raise CameraError(
                "cannot be opened, or gives no frame",
                where=shown,
                mend="check the address, the permissions (group video) and that nothing else"
                " uses it",
            )
        if first.ndim != 3 or first.shape[2] != 3 or first.dtype != np.uint8:
            self._capture.release()
            raise CameraError(
                "gives frames that OpenCV does not decode",
                where=shown,
                expected="(height, width, 3) uint8",
                got=f"{first.shape} {first.dtype}",
            )
        self.mode = CameraMode(
            driver="v4l2" if self._live else "stream",
            source=shown,
            width=first.shape[1],
            height=first.shape[0],
            fps=float(self._capture.get(cv2.CAP_PROP_FPS)),
            format="bgr",
        )
        self.corrupt_total = 0
        self._changed = threading.Condition()
        self._free: list[NDArray[np.uint8]] = [np.empty_like(first) for _ in range(2)]  # [1]
        self._newest: Frame | None = None  # [1]
        self._held: NDArray[np.uint8] = np.asarray(first, np.uint8)
        self._failure = ""  # [1]
        self._stop = False  # [1]
        self._thread = threading.Thread(target=self._grab, name="grabber", daemon=True)
        self._thread.start()

    def read(self, timeout_s: Seconds) -> Frame | None:
        """Return the newest frame; its pixels are overwritten after the next ``read``."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._failure, timeout_s)
            frame, self._newest = self._newest, None
            if frame is not None:
                self._free.append(self._held)
                self._held = frame.pixels
                return frame
            if self._failure:
                raise CameraError(self._failure, where=self._shown)
            return None

    def control(self, wanted: Mapping[str, float]) -> None:
        """Raise CameraError: none is set through OpenCV."""
        controls.check(wanted, (), self.mode.source)

    def close(self) -> None:
        """Stop the grabber and release the device; one that is stuck in a read is left behind."""
        with self._changed:
            self._stop = True
        self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            self._capture.release()

    def _grab(self) -> None:
        sequence, failures = 0, 0
        while True:
            taken = self._capture.grab()
            captured_ns = time.monotonic_ns()
            with self._changed:
                if self._stop:
                    return
                buffer = self._free.pop() if self._free else None
            if buffer is None:  # cannot be: three buffers, two of them taken at most
                buffer = np.empty_like(self._held)
            decoded, pixels = self._capture.retrieve(buffer) if taken else (False, None)
            with self._changed:
                if decoded and pixels is not None:
                    failures = 0
                    if self._newest is not None:
                        self._free.append(self._newest.pixels)
                    self._newest = Frame(sequence, captured_ns, np.asarray(pixels), "bgr")
                    sequence += 1
                else:
                    self._free.append(buffer)
                    failures += 1
                    self.corrupt_total += taken
                    if not taken or failures >= 30:
                        self._failure = "has ended" if not taken else "gives only corrupt frames"
                self._changed.notify()
                if self._failure:
                    return


def _fourcc(width: int, height: int) -> str:
    """Return the pixel format to ask for: raw where USB 2 carries it at 30 frames/s."""
    return "YUYV" if width * height <= 640 * 480 else "MJPG"
