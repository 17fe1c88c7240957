"""A call on a thread of its own, for one that may hang or take long: a driver's, a server's.

[1] The thread writes what comes of it, then sets ``_done``; the caller reads it after that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from edge.errors import CameraError
from edge.frames import Seconds

Result = TypeVar("Result")


class Call(Generic[Result]):
    """Begins at once."""

    def __init__(
        self,
        call: Callable[[], Result],
        clock: Callable[[], Seconds] = time.monotonic,
        name: str = "camera",
    ) -> None:
        self._call, self._clock, self._begin_s = call, clock, clock()
        self._done = threading.Event()
        self._raised: BaseException | None = None  # [1]
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def wait(self, timeout_s: Seconds) -> bool:
        """Return whether it is over, after ``timeout_s`` at the latest."""
        return self._done.wait(timeout_s)

    def lasts_s(self) -> Seconds:
        """Return how long ago it began."""
        return self._clock() - self._begin_s

    def result(self) -> Result:
        """Return what the call returned, or raise what it raised; once it is over."""
        if self._raised is not None:
            raise self._raised
        return self._result

    def stuck(self) -> CameraError:
        """Return the error for a call that does not come back."""
        return CameraError(
            f"its driver has not answered for {self.lasts_s():.0f} s",
            reason="stalled",
            hint="a restart may help; if not, power the camera off and on",
        )

    def _run(self) -> None:
        try:
            self._result = self._call()  # [1]
        except BaseException as exc:  # raised on the caller's thread
            self._raised = exc
        finally:
            self._done.set()
