"""An open source of FFmpeg's, and the fence around it: what `ffmpeg` opens, others read.

OpenCV's errors are translated here: a frame that cannot be had is none. It knows neither streams
nor films. One thread at a time uses it.
"""

from __future__ import annotations

import weakref
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import CameraError
from edge.fence import Fence

MOTION_JPEG: Final = frozenset({b"MJPG", b"mjpe"})
"""What OpenCV calls it; the second is 4.6's name."""


class Capture:
    """An open ``cv2.VideoCapture`` and the fence around it. Its owner must ``release`` it.

    The fence of one that was forgotten goes with it: it would limit the process for ever.
    """

    def __init__(self, capture: cv2.VideoCapture, fence: Fence) -> None:
        self._capture, self.fence = capture, fence
        weakref.finalize(self, fence.lift)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as the source says; zeros while FFmpeg knows neither."""
        width = self.get(cv2.CAP_PROP_FRAME_WIDTH)
        return int(width), int(self.get(cv2.CAP_PROP_FRAME_HEIGHT))

    @property
    def is_jpeg(self) -> bool:
        """Whether this is motion JPEG."""
        codec = int(self.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        return codec.to_bytes(4, "little") in MOTION_JPEG

    def keep_jpeg(self) -> bool:
        """Have motion JPEG retrieved as it came, if that is what this is; say whether it is."""
        return self.is_jpeg and self._capture.set(cv2.CAP_PROP_FORMAT, -1)

    def get(self, what: int) -> float:
        """Return one of OpenCV's properties."""
        return float(self._capture.get(what))

    def grab(self) -> bool:
        """Move to the next frame; say whether there is one."""
        try:
            return self._capture.grab()
        except (cv2.error, MemoryError):
            return False

    def rewind(self) -> bool:
        """Go to the beginning; say whether the film could, which its next frame must confirm."""
        try:
            return self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
        except (cv2.error, MemoryError):
            return False

    def retrieve(self, buffer: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
        """Return what was grabbed, in ``buffer`` where that fits; None where it is corrupt."""
        try:
            decoded, pixels = self._capture.retrieve(buffer)
        except (cv2.error, MemoryError):
            return None
        return np.asarray(pixels, np.uint8) if decoded and pixels is not None else None

    def check_memory(self, where: str) -> None:
        """Raise CameraError where it has taken nearly all that it may. Any thread may call it."""
        if self.fence.is_close():
            what = "takes too much memory"
            most = f"at most {self.fence.room_bytes // 1_000_000} MB more than before it was opened"
            raise CameraError(what, reason="unsupported", where=where, expected=most)

    def release(self) -> None:
        """End the connection, or close the file."""
        self._capture.release()
        self.fence.lift()
