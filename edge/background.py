"""A call on a thread of its own, for one that may hang or take long: a driver's, a server's.

[1] The thread writes the outcome, then sets ``_done``; the caller reads the outcome after that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from edge.frames import Seconds

Result = TypeVar("Result")


class Call(Generic[Result]):
    """Starts at once; it cannot be stopped, only left behind."""

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
        """Return whether it has ended, after ``timeout_s`` at the latest."""
        return self._done.wait(timeout_s)

    def lasts_s(self) -> Seconds:
        """Return how long ago it started."""
        return self._clock() - self._begin_s

    def result(self) -> Result:
        """Return what the call returned, or raise what it raised; only once it has ended."""
        if self._raised is not None:
            raise self._raised
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._call()  # [1]
        except BaseException as exc:  # raised again on the caller's thread
            self._raised = exc
        finally:
            self._done.set()
