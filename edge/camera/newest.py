"""The newest picture of a live source: one thread brings pictures, another takes the newest.

Nothing queues: a picture that is not taken in time is replaced, and counted. [1] marks what both
threads touch; ``_changed`` guards it. It does not know where pictures come from.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import CameraError, CameraReason
from edge.frames import Seconds

STOP_S: Final = 1.0
"""Longest wait for the thread to end."""
BAD_FRAMES: Final = 30
"""After so many corrupt frames in a row, a stream of independent pictures is given up."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that came.

    pixels          (H, W, 3) BGR, or the (N,) bytes of a JPEG
    captured_ns     when
    replaced_total  how many before it were replaced unread
    """

    pixels: NDArray[np.uint8]
    captured_ns: int
    replaced_total: int


class Newest:
    """Starts a thread on which ``_receive`` brings pictures until it returns.

    where  the source, for messages
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._changed = threading.Condition()
        self._newest: Picture | None = None  # [1]
        self._replaced_total = 0  # [1]
        self._corrupt_total = 0  # [1]
        self._failure: CameraError | None = None  # [1]
        self._thread = threading.Thread(target=self._run, name="grabber", daemon=True)
        self._thread.start()

    @property
    def corrupt_total(self) -> int:
        """Parts that came and were not a picture, or too large to be held."""
        with self._changed:
            return self._corrupt_total

    def peek(self, timeout_s: Seconds) -> Picture | None:
        """Return the newest picture not yet taken, or None after ``timeout_s``.

        Raises CameraError where no more will come.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._newest or self._failure, timeout_s)
            if self._newest is None and self._failure is not None:
                raise self._failure
            return self._newest

    def take(self, timeout_s: Seconds) -> Picture | None:
        """Return what ``peek`` does; it is the reader's until its next ``take``."""
        with self._changed:  # reentrant
            picture, self._newest = self.peek(timeout_s), None
            return picture

    def stop(self) -> None:
        """End the thread."""
        raise NotImplementedError

    def _receive(self) -> CameraError:
        """[1] Bring pictures; return, or raise, why there are no more."""
        raise NotImplementedError

    def _release(self) -> None:
        """Release the source of the pictures; called on the thread as it ends."""
        raise NotImplementedError

    def _run(self) -> None:
        failure = self._error("cannot be read any more", "failed")
        try:
            failure = self._receive()
        except CameraError as exc:
            failure = exc
        finally:
            self._release()
            with self._changed:
                self._failure = failure
                self._changed.notify_all()

    def _put(self, pixels: NDArray[np.uint8], captured_ns: int) -> None:
        """[1] Make a picture the newest one."""
        with self._changed:  # reentrant
            self._replaced_total += self._newest is not None
            self._newest = Picture(pixels, captured_ns, self._replaced_total)
            self._changed.notify_all()

    def _error(self, what: str, reason: CameraReason) -> CameraError:
        return CameraError(what, reason=reason, where=self._where)
