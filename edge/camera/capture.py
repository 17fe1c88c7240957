"""An open FFmpeg source and the fence around it: `ffmpeg` opens it, streams and films read it.

OpenCV's errors are translated here: a frame that fails is False or None. It knows neither streams
nor films. One thread at a time uses it; its owner says which.
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
"""OpenCV's names for motion JPEG; the second is 4.6's."""


class Capture:
    """An open ``cv2.VideoCapture`` and the fence around it. Its owner must ``release`` it.

    If that is forgotten, the garbage collection lifts the fence, which would stay for ever.
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
        """Retrieve motion JPEG undecoded from now on; return whether this is motion JPEG."""
        return self.is_jpeg and self._capture.set(cv2.CAP_PROP_FORMAT, -1)

    def get(self, property: int) -> float:
        """Return one of OpenCV's properties."""
        return float(self._capture.get(property))

    def grab(self) -> bool:
        """Move to the next frame; return whether there is one."""
        try:
            return self._capture.grab()
        except (cv2.error, MemoryError):
            return False

    def rewind(self) -> bool:
        """Go to the beginning; return whether FFmpeg says it did: the next frame must prove it."""
        try:
            return self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
        except (cv2.error, MemoryError):
            return False

    def retrieve(self, buffer: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
        """Return the grabbed frame, in ``buffer`` if it fits; None if it is corrupt."""
        try:
            decoded, pixels = self._capture.retrieve(buffer)
        except (cv2.error, MemoryError):
            return None
        return np.asarray(pixels, np.uint8) if decoded and pixels is not None else None

    def check_memory(self, where: str) -> None:
        """Raise CameraError if its memory is nearly used up. Any thread may call this."""
        if self.fence.is_close():
            what = "takes too much memory"
            limit = (
                f"at most {self.fence.room_bytes // 1_000_000} MB more than before it was opened"
            )
            raise CameraError(what, reason="unsupported", where=where, expected=limit)

    def release(self) -> None:
        """End the connection, or close the file."""
        self._capture.release()
        self.fence.lift()
