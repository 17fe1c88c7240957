"""Opens a network stream through OpenCV's FFmpeg. Runs on the thread that opens the camera.

It does not know why a stream does not open; `refusal` finds out.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Final

import cv2

from edge.camera.refusal import refusal
from edge.types import Asked

OPTIONS: Final = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
THREADS: Final = "OPENCV_FFMPEG_THREADS"
MOTION_JPEG: Final = frozenset({b"MJPG", b"mjpe"})
"""What OpenCV calls it; the second is 4.6's name."""

_opening = threading.Lock()


def open_stream(asked: Asked) -> cv2.VideoCapture:
    """Return the open capture. Raises CameraError.

    Its grabs fail after ``timeout_s``; 4.6 gives an old frame once instead.
    """
    milliseconds = max(1, round(asked.timeout_s * 1000))
    limits = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds),
    ]
    with _environment(asked):
        capture = cv2.VideoCapture(asked.source, cv2.CAP_FFMPEG, limits)
    if not capture.isOpened():
        capture.release()
        raise refusal(asked.source, asked.shown, asked.timeout_s)
    return capture


def keep_jpeg(capture: cv2.VideoCapture) -> bool:
    """Have motion JPEG retrieved as it came, if that is what this is; say whether it is."""
    codec = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    return codec.to_bytes(4, "little") in MOTION_JPEG and capture.set(cv2.CAP_PROP_FORMAT, -1)


@contextlib.contextmanager
def _environment(asked: Asked) -> Iterator[None]:
    """Set what OpenCV reads from the environment as it opens a stream; one opens at a time.

    Measured on loopback, H.264, 20 frames a second:
    probesize, fpsprobesize  RTSP opens in 0.1 s instead of 1.6 s: its frames are not looked into
                             first. ``nobuffer`` would throw the first key frame away.
    threads                  each one more holds frames back for one more interval; OpenCV 4.6
                             has one for each core, whatever is asked
    What is set there already comes last and wins.
    """
    options = f"rtsp_transport;{asked.transport}"
    if asked.source.startswith("rtsp"):
        options += "|probesize;32|fpsprobesize;0"
    with _opening:
        before = {name: os.environ.get(name) for name in (OPTIONS, THREADS)}
        os.environ[OPTIONS] = "|".join(filter(None, (options, before[OPTIONS])))
        os.environ[THREADS] = before[THREADS] or "1"
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
