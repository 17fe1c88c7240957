"""A live camera whose pictures come as JPEG: kept undecoded, decoded when they are read.

They are decoded on the reader's thread, no larger than is useful, after their header has shown that
they are within the limits; a picture that is never read costs nothing. It does not know where they
come from.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.camera import controls, jpeg
from edge.camera.newest import BAD_FRAMES, Newest, Picture
from edge.camera.spec import CameraSpec
from edge.errors import CameraError
from edge.frames import CameraMode, ControlValue, Frame, Seconds
from edge.pictures import picture

log = logging.getLogger(__name__)
FULL: Final = 1
STILL_S: Final = 1.0
"""Longest wait for a picture in full size: the loop blocks meanwhile."""


class JpegCamera:
    """The pictures of ``newest``, which it owns from here on.

    fps      at which they are requested; 0 if the source decides
    form     what the source sends, for ``mode``
    until_s  when the first one must have come, on the monotonic clock
    Raises CameraError if none does.
    """

    def __init__(
        self, newest: Newest, spec: CameraSpec, until_s: Seconds, *, form: str, fps: float = 0.0
    ) -> None:
        self._newest, self._spec, self._view = newest, spec, spec.view
        self.mode = CameraMode("stream", spec.name, 0, 0, fps, form)
        self._reduced = FULL
        # Released before the next is decoded, malloc would return its memory to the system and
        # take it again for each frame: 300 page faults, 0.7 ms at 1280x720.
        self._held: NDArray[np.uint8] | None = None
        self._taken_total = 0
        self._undecodable_total = self._undecodable = 0  # in all, in a row
        try:
            while True:
                first = newest.peek(until_s - time.monotonic())
                if first is None:
                    what = "opened, but gives no frame"
                    raise CameraError(what, reason="stalled", where=spec.name)
                if self._adopt(first.pixels) is not None:
                    break
                newest.take(0.0)
        except CameraError:
            self.close()
            raise

    @property
    def corrupt_total(self) -> int:
        """Pictures that came and could not be decoded, or were over the limits."""
        return self._newest.corrupt_total + self._undecodable_total

    def read(self, timeout_s: Seconds) -> Frame | None:
        """Return the newest frame."""
        until = time.monotonic() + timeout_s
        while taken := self._newest.take(until - time.monotonic()):
            pixels = self._decode(taken.pixels)
            if pixels is not None:
                self._held = pixels
                self._undecodable = 0
                self._taken_total += 1
                return self._frame(taken, pixels, self._taken_total - 1)
        return None

    def still(self) -> Frame | None:
        """Return the newest picture in full size if ``read`` gives it smaller, else None."""
        if self.mode.still is None:
            return None
        taken = self._newest.peek(min(STILL_S, self._spec.timeout_s))
        if taken is None:
            return None
        pixels = jpeg.decode(taken.pixels, FULL, self._spec.config.max_pixels)
        return None if pixels is None else self._frame(taken, pixels, self._taken_total)

    def control(self, values: Mapping[str, ControlValue]) -> None:
        """Raise CameraError: a network source has no controls."""
        controls.check(values, (), self.mode.source)

    def close(self) -> None:
        """End the connection, within a second."""
        self._newest.stop()

    def _frame(self, taken: Picture, pixels: NDArray[np.uint8], number: int) -> Frame:
        """Return a frame; a gap in the numbers counts the pictures that were replaced unread."""
        sequence = self._spec.first_sequence + number + taken.replaced_total
        return Frame(sequence, taken.captured_ns, pixels, "bgr", self._view)

    def _decode(self, content: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Return a picture as BGR, whatever its size is now; None if it is corrupt."""
        try:
            pixels = picture.decode(content, self._spec.config.max_pixels, self._reduced)
        except picture.Unreadable as exc:
            self._count_corrupt(str(exc))
            return None
        if pixels.shape[:2] == (self.mode.height, self.mode.width):
            return pixels
        before = self.mode
        adopted = self._adopt(content)
        if adopted is not None:
            log.warning(
                "%s: the picture is now %d x %d, was %d x %d",
                *(before.source, self.mode.width, self.mode.height, before.width, before.height),
            )
        return adopted

    def _adopt(self, content: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Take the size from a picture; return its pixels, None if it is corrupt."""
        max_pixels = self._spec.config.max_pixels
        try:
            header = picture.read_header(content)
            if header is None:
                raise picture.Unreadable("not a picture")
            full = picture.fitting(header, max_pixels, FULL, len(content))
            useful = picture.reduction(header.width, header.height, self._spec.useful)
            reduced = picture.fitting(header, max_pixels, useful, len(content))
            pixels = picture.decode(content, max_pixels, reduced)
        except picture.Unreadable as exc:
            self._count_corrupt(str(exc))
            return None
        height, width = pixels.shape[:2]
        whole = (-(-header.width // full), -(-header.height // full))
        if (header.width > header.height) != (width > height):  # turned, as its EXIF says
            whole = whole[::-1]
        self._reduced = reduced
        still = whole if reduced > full else None
        self.mode = replace(self.mode, width=width, height=height, still=still)
        return pixels

    def _count_corrupt(self, what: str) -> None:
        """Count a picture that cannot be decoded. Raises CameraError after many in a row."""
        self._undecodable_total += 1
        self._undecodable += 1
        where = self.mode.source
        if self._undecodable >= BAD_FRAMES:
            text = f"{BAD_FRAMES} frames in a row are corrupt"
            raise CameraError(text, reason="corrupt", where=where, got=what)
        if self._undecodable_total == 1:
            log.warning("%s: skipped a picture: %s; more are only counted", where, what)
