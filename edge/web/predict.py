"""`POST /api/predict`: pictures in, labels and scores out, the numbers of `edge classify --json`.

The threads that classify are started by the first request, with the model at work, and again when
the daemon has another. On the loop's thread; what waits for them is awaited.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from edge.config import ModelConfig
from edge.errors import EdgeError
from edge.web import uploads
from edge.web.answers import Refused, too_many
from edge.web.newest import Network
from edge.web.sessions import Buckets

if TYPE_CHECKING:  # it imports NumPy and OpenCV, which a page that only looks does not need
    from edge.web.pool import Pool, Result

log = logging.getLogger(__name__)
PER_S: Final = 50.0
BURST: Final = 200.0
"""Pictures of an address."""
POLL_S: Final = 0.02
AGAIN_S: Final = 10.0
"""Between two tries to load a model that cannot be used."""

Outcome = dict[str, Any] | Refused
"""Of one picture."""


class Predict:
    """Classifies uploads.

    config   returns [model], with what requests have chosen. Raises ConfigError
    at_work  returns what tells the daemon's model from another; None where it is not known
    """

    def __init__(
        self,
        config: Callable[[], ModelConfig],
        at_work: Callable[[], Network | None],
        workers: int,
    ) -> None:
        self._config, self._at_work, self._workers = config, at_work, workers
        self._rate = Buckets(PER_S, BURST)
        self._pool: Pool | None = None
        self._model: Network | None = None
        self._starting: asyncio.Lock | None = None
        self._fault: tuple[float, Refused] | None = None
        self.pictures: dict[str, int] = {"ok": 0, "error": 0, "refused": 0}
        """Outcome -> pictures; requests that were refused count once."""

    async def answer(self, content_type: str, body: bytearray, address: str) -> dict[str, Any]:
        """Return what a request gets: ``results`` of a form, one result of a plain body."""
        try:
            results, form = await self._results(content_type, body, address)
        except Refused:
            self.pictures["refused"] += 1
            raise
        for result in results:
            self.pictures["error" if isinstance(result, Refused) else "ok"] += 1
        if form:
            shown = ({"error": str(one)} if isinstance(one, Refused) else one for one in results)
            return {"results": list(shown)}
        if isinstance(results[0], Refused):
            raise results[0]
        return results[0]

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.close()

    async def _results(
        self, content_type: str, body: bytearray, address: str
    ) -> tuple[list[Outcome], bool]:
        _, boundary = uploads.kind(content_type)
        if boundary:
            files = await asyncio.to_thread(uploads.files, body, boundary)
        else:
            files = [uploads.checked(body)]
            if isinstance(files[0], Refused):
                raise files[0]
        if wait_s := self._rate.take(address, time.monotonic(), len(files)):
            raise too_many("too many pictures", wait_s)
        return await self._classified(files), bool(boundary)

    async def _classified(self, files: list[uploads.File]) -> list[Outcome]:
        from edge.web.pool import Full

        whole = [file for file in files if not isinstance(file, Refused)]
        pool = await self._ready()
        try:
            futures = iter(pool.put(whole))
        except Full as exc:
            raise too_many("too many pictures wait to be classified", 1.0) from exc
        return [
            file if isinstance(file, Refused) else _outcome(await next(futures)) for file in files
        ]

    async def _ready(self) -> Pool:
        """Return the threads of the model at work. Raises Refused, 503."""
        if self._starting is None:
            self._starting = asyncio.Lock()
        async with self._starting:
            model = self._at_work()
            if self._pool is not None and model in (None, self._model):
                return self._pool
            if self._fault and time.monotonic() - self._fault[0] < AGAIN_S:
                raise self._fault[1]
            if self._pool is not None:
                self._pool.close()
                self._pool = None
            try:
                self._pool = await self._start()
            except EdgeError as exc:
                log.error("pictures cannot be classified: %s", exc)
                refused = Refused(503, exc, {"Retry-After": f"{AGAIN_S:.0f}"})
                self._fault = time.monotonic(), refused
                raise refused from exc
            self._model, self._fault = model, None
            return self._pool

    async def _start(self) -> Pool:
        """Return the threads, once each has its interpreter.

        Proving a model may take a minute. That is done on a thread of its own [1], which does not
        keep the process from ending.
        """
        from edge.background import Call
        from edge.web.pool import Pool

        loop = asyncio.get_running_loop()
        call = Call(lambda: Pool(self._config(), self._workers, loop), name="classify-start")  # [1]
        while not call.wait(0):
            await asyncio.sleep(POLL_S)
        return call.result()


def _outcome(result: Result) -> Outcome:
    if isinstance(result, dict):
        return result
    return Refused(413 if result.too_large else 415, result.error)
