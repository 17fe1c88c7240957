"""A few threads for what waits for a disk or decodes a picture, so that the loop never does.

Rule: what waits is bounded; beyond that a request is refused, with a time after which to try again.
What a disk or one of our parts says becomes one line, with the status that fits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from edge.errors import EdgeError
from edge.web.answers import Refused, too_many

THREADS: Final = 3
WAITING: Final = 128
"""Calls that wait or run."""
Done = TypeVar("Done")


class Work:
    """Runs calls on its threads."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="work")
        self._calls = 0

    async def do(self, call: Callable[[], Done]) -> Done:
        """Return what ``call`` returns. Raises Refused: 404, 409, 429 or 503."""
        if self._calls >= WAITING:
            raise too_many("too many requests wait for the disk", 1.0)
        self._calls += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, call)
        future.add_done_callback(self._over)
        try:
            return await asyncio.shield(future)  # one who leaves does not stop it half-way
        except EdgeError as exc:
            raise Refused(409, exc) from exc
        except TimeoutError as exc:
            reason = exc.strerror or "busy"
            raise Refused(503, reason, {"Retry-After": "2"}) from exc
        except FileNotFoundError as exc:
            raise Refused(404, "not there, or no longer") from exc
        except OSError as exc:
            raise Refused(503, f"the disk refuses: {exc.strerror or exc}") from exc

    def close(self) -> None:
        """Let nothing more begin."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _over(self, future: asyncio.Future[Done]) -> None:
        self._calls -= 1
        if not future.cancelled():
            future.exception()  # it is seen, also where nobody waits any more
