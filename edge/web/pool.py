"""Threads that classify pictures, each with an interpreter of its own, allocated once.

[1] ``_waiting`` is guarded by ``_changed``'s lock: the loop's thread adds, workers take. Results go
    back to the loop in one call for each batch.
[2] ``_large`` is held while a large picture is decoded: one at a time, whatever was sent.

The workers are niced: what the daemon needs comes first. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.config import ModelConfig
from edge.errors import EdgeError, ModelError
from edge.frames import Frame
from edge.model.attempt import Attempt
from edge.model.engine import Engine, Unreadable, load
from edge.pictures import picture

WAITING: Final = 64
"""Pictures that wait, those being classified not counted."""
BATCH: Final = 8
"""Pictures that a worker takes at once, where there are enough for all."""
NICE: Final = 10
LARGE_PIXELS: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Unclassified:
    """Why a picture has no scores. too_large: it has too many pixels."""

    error: str
    too_large: bool = False


Result = dict[str, Any] | Unclassified
"""label, score and scores; or why not."""
Job = tuple[bytearray, "asyncio.Future[Result]"]


class Full(Exception):
    """Too many pictures wait already."""


class Pool:
    """Starts at once; ``close`` ends it. Raises ModelError where the model cannot be used.

    Called from a thread that may wait: a model that has never proven itself is tried first.
    """

    def __init__(self, config: ModelConfig, workers: int, loop: asyncio.AbstractEventLoop) -> None:
        self._config = msgspec.structs.replace(config, threads=1)
        self._loop, self._workers = loop, workers
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()  # [1]
        self._ended = False  # [1]
        self._large = threading.Lock()  # [2]
        self._starting = threading.Lock()
        attempt = Attempt(self._config)
        attempt.run()
        self._sha256 = attempt.sha256
        self._faults: list[EdgeError] = []
        ready = threading.Barrier(workers + 1)
        for number in range(workers):
            name = f"classify-{number}"
            threading.Thread(target=self._run, args=(ready,), name=name, daemon=True).start()
        ready.wait()
        if self._faults:
            self.close()
            raise self._faults[0]

    def put(self, contents: Sequence[bytearray]) -> list[asyncio.Future[Result]]:
        """Queue pictures, all or none. Called from the loop's thread. Raises Full."""
        with self._changed:
            if len(self._waiting) + len(contents) > WAITING:
                raise Full
            jobs = [(content, self._loop.create_future()) for content in contents]
            self._waiting.extend(jobs)
            self._changed.notify(len(jobs))
        return [future for _, future in jobs]

    def close(self) -> None:
        """End the workers; what waits gets an error."""
        with self._changed:
            self._ended = True
            jobs = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        if jobs:
            error = Unclassified("the model is being replaced: send it again")
            self._deliver([(future, error) for _, future in jobs])

    def _run(self, ready: threading.Barrier) -> None:
        """Allocate an interpreter, then classify until the end. A worker's thread."""
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        engine = None
        try:
            with self._starting:  # each allocates as if it were alone
                engine = load(self._config, self._sha256)
        except EdgeError as exc:
            self._faults.append(exc)
        except BaseException as exc:
            self._faults.append(ModelError(f"cannot be loaded: {exc!r}"))
        finally:
            ready.wait()
        while engine is not None and (jobs := self._take()):
            self._deliver([(future, self._classified(engine, job)) for job, future in jobs])

    def _take(self) -> list[Job]:
        """Return the next pictures: this worker's share of those that wait; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            share = -(-len(self._waiting) // self._workers)
            return [self._waiting.popleft() for _ in range(min(BATCH, share))]

    def _classified(self, engine: Engine, content: bytearray) -> Result:
        array, pixels = np.frombuffer(content, np.uint8), 0
        try:
            header = picture.read_header(array)
            pixels = header.pixels if header else 0
            with self._large if pixels > LARGE_PIXELS else contextlib.nullcontext():
                return self._scores(engine, array)
        except Unreadable as exc:
            return Unclassified(str(exc), too_large=pixels > picture.MAX_PIXELS)
        except Exception as exc:  # a decoder's: this picture's fault, not the worker's end
            return Unclassified(f"cannot be classified: {type(exc).__name__}")

    def _scores(self, engine: Engine, content: NDArray[np.uint8]) -> Result:
        reduced = picture.beyond(content, engine.useful)
        pixels = picture.decode(content, picture.MAX_PIXELS, reduced)
        out = np.empty(len(engine.card.labels), np.float32)
        if not engine.classify(Frame(0, 0, pixels, "bgr"), out):
            return Unclassified(f"the model gives no scores: {engine.classifier.fault()}")
        labels = engine.card.labels
        scores = {label: round(float(s), 4) for label, s in zip(labels, out, strict=True)}
        best = labels[int(out.argmax())]
        return {"label": best, "score": scores[best], "scores": scores}

    def _deliver(self, results: list[tuple[asyncio.Future[Result], Result]]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(_set, results)


def _set(results: list[tuple[asyncio.Future[Result], Result]]) -> None:
    for future, result in results:
        if not future.done():
            future.set_result(result)
