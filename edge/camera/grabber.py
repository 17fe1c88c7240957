"""Takes every frame of a stream the moment it comes, and keeps the newest for a slow reader.

Only the grabber's thread uses the capture, and releases it, however long after ``stop``: a silent
server blocks a grab until the read time-out. [1] marks what it shares with the reader; ``_changed``
guards it. Two buffers rotate: the reader's, and one that is the newest picture or written, over
a newest one that was not taken; motion JPEG comes as new bytes each time instead.

The process must not finalise the interpreter while a grab blocks: before Python 3.14, a grab that
returns just then aborts it (OpenCV takes the lock of an interpreter that is gone). The process
therefore ends by ``os._exit``.

It does not know when the sensor took a frame, only when the frame arrived, and nothing of damage
that FFmpeg conceals: only frames that FFmpeg refuses are counted as corrupt. A stream joined
between two key frames gives no picture until the next: waiting for that is not damage. After the
first picture, frames that need a lost one count, and the stream is kept until ``timeout_s`` without
any.
"""

from __future__ import annotations

import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.camera import jpeg
from edge.camera.capture import Capture
from edge.camera.ffmpeg import no_key_frame
from edge.camera.newest import BAD_FRAMES, STOP_S, Newest, Picture
from edge.errors import CameraError
from edge.frames import Seconds

GIVE_UP: Final = 0.9
"""Of the time-out without a picture: sooner than the reader reports mere silence."""
ENDED_S: Final = 0.001
"""A grab at the end of a stream fails sooner (0.03 ms); a corrupt frame takes time to arrive."""


class Grabber(Newest):
    """Owns an open ``capture`` from here on.

    is_jpeg    it gives motion JPEG, undecoded
    timeout_s  its read time-out
    where      the source, for messages
    """

    def __init__(self, capture: Capture, is_jpeg: bool, timeout_s: Seconds, where: str) -> None:
        self._capture, self._is_jpeg, self._timeout_s = capture, is_jpeg, timeout_s
        self._spare: NDArray[np.uint8] | None = None  # [1]
        self._stop = False  # [1]
        self._held: NDArray[np.uint8] | None = None
        super().__init__(where)

    def peek(self, timeout_s: Seconds) -> Picture | None:
        """Return the newest picture not yet taken, or None after ``timeout_s``.

        Raises CameraError where no more will come, or FFmpeg has taken too much memory.
        """
        self._capture.check_memory(self._where)
        return super().peek(timeout_s)

    def take(self, timeout_s: Seconds) -> Picture | None:
        """Return what ``peek`` does; overwritten after the next ``take``."""
        with self._changed:
            picture = super().take(timeout_s)
            if picture is not None:
                self._spare = self._held if self._held is not None else self._spare
                self._held = None if self._is_jpeg else picture.pixels
            return picture

    def stop(self) -> None:
        """End the thread; if a grab blocks it, it is left behind and ends with the grab."""
        with self._changed:
            self._stop = True
        self._thread.join(STOP_S)

    def _release(self) -> None:
        self._capture.release()

    def _receive(self) -> CameraError:
        """[1] Take frames until stopped; return why there are no more."""
        missed = cut = ended = 0  # in a row: failed; came, but not whole; failed at once
        whole_ns, first = time.monotonic_ns(), True
        while True:
            begin_ns = time.monotonic_ns()
            grabbed = self._capture.grab()
            captured_ns = time.monotonic_ns()
            waited_s = (captured_ns - begin_ns) / 1e9
            with self._changed:
                if self._stop:
                    return self._error("is closed", "gone")
            if waited_s >= 0.98 * self._timeout_s:  # OpenCV 4.6 gives an old frame then
                return self._error(f"no frame for {waited_s:.1f} s", "stalled")
            pixels = self._retrieve() if grabbed else None
            with self._changed:
                if pixels is not None:
                    self._corrupt_total += 0 if first and not self._is_jpeg else missed
                    missed = cut = ended = 0
                    whole_ns, first = captured_ns, False
                    self._put(pixels, captured_ns)
                    continue
                waiting = first and not self._is_jpeg
                self._corrupt_total += grabbed and not waiting
                missed, cut = missed + (not grabbed), cut + grabbed
                ended = 0 if grabbed or waited_s >= ENDED_S else ended + 1
                if ended >= BAD_FRAMES:
                    return self._error("the server has closed the connection", "gone")
                bad, without_s = missed + cut - ended, (captured_ns - whole_ns) / 1e9
                if self._is_jpeg and bad >= BAD_FRAMES:
                    self._corrupt_total += missed - ended
                    return self._error(f"{BAD_FRAMES} frames in a row are corrupt", "corrupt")
                if not self._is_jpeg and bad and without_s >= GIVE_UP * self._timeout_s:
                    if waiting:
                        return no_key_frame(self._where, without_s)
                    self._corrupt_total += missed - ended
                    what = f"no frame could be decoded for {without_s:.1f} s"
                    return self._error(what, "corrupt")

    def _retrieve(self) -> NDArray[np.uint8] | None:
        """[1] Return the grabbed frame, in the buffer that is not the reader's; None if corrupt."""
        if self._is_jpeg:
            picture = self._capture.retrieve(None)
            jpeg_bytes = None if picture is None else picture.reshape(-1)
            return jpeg_bytes if jpeg_bytes is not None and jpeg.is_whole(jpeg_bytes) else None
        with self._changed:
            if self._spare is None and self._newest is not None:
                self._spare, self._newest = self._newest.pixels, None
                self._replaced_total += 1
            buffer, self._spare = self._spare, None
        pixels = self._capture.retrieve(buffer)
        if pixels is not None and pixels.ndim == 3 and pixels.shape[2] == 3:
            return pixels
        with self._changed:
            self._spare = buffer
        return None
