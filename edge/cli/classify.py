"""`edge classify`: pictures in, a line each out, in the order given, on all cores.

Each of several threads has an interpreter of its own with one thread, and reads, decodes and
classifies a picture at a time. At most ``AHEAD`` pictures a thread are on their way, so that memory
does not grow with their number. A JPEG is decoded no larger than the model can use.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import cv2
import msgspec
import numpy as np

from edge.config import ModelConfig
from edge.frames import Frame
from edge.model.engine import Engine, Unreadable, load, start
from edge.pictures.read import read_pixels
from edge.text import escaped

SHARE: Final = 16
"""Pictures for which another interpreter pays."""
AHEAD: Final = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """What a picture is; or why that is not known. ms: without reading and decoding."""

    path: Path
    scores: dict[str, float]
    ms: float
    error: str = ""


def run(paths: Sequence[Path], config: ModelConfig, *, as_json: bool) -> bool:
    """Print a line for each picture; return whether all could be classified. Raises ModelError."""
    good = True
    with contextlib.closing(_answers(paths, config)) as answers, _bar(len(paths)) as advance:
        for answer in answers:
            advance()
            good = good and not answer.error
            _print(answer, as_json)
    return good


def _answers(paths: Sequence[Path], config: ModelConfig) -> Generator[Answer, None, None]:
    """Yield an answer for each path, in order."""
    workers = min(len(os.sched_getaffinity(0)), max(1, len(paths) // SHARE))
    if workers == 1:
        engine = start(config)
        yield from (_classified(engine, path) for path in paths)
        return
    alone = msgspec.structs.replace(config, threads=1)
    proven, own = start(alone).sha256, threading.local()
    cv2.setNumThreads(1)

    def classified(path: Path) -> Answer:
        if not hasattr(own, "engine"):
            own.engine = load(alone, proven)
        return _classified(own.engine, path)

    with ThreadPoolExecutor(workers) as pool:
        rest = iter(paths)
        waiting: deque[Future[Answer]] = deque()
        try:
            while True:
                more = islice(rest, AHEAD * workers - len(waiting))
                waiting.extend(pool.submit(classified, path) for path in more)
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _classified(engine: Engine, path: Path) -> Answer:
    out = np.empty(len(engine.card.labels), np.float32)
    try:
        frame = Frame(0, 0, read_pixels(path, useful=engine.useful), "bgr")
    except Unreadable as exc:
        return Answer(path, {}, 0.0, str(exc))
    begin_ns = time.monotonic_ns()
    if not engine.classify(frame, out):
        return Answer(path, {}, 0.0, f"the model gives no scores: {engine.classifier.fault()}")
    ms = round((time.monotonic_ns() - begin_ns) / 1e6, 3)
    return Answer(path, dict(zip(engine.card.labels, map(float, out), strict=True)), ms)


def _print(answer: Answer, as_json: bool) -> None:
    path, error = str(answer.path), answer.error
    if error:
        if as_json:
            print(json.dumps({"path": path, "error": error}), flush=True)
        else:
            print(escaped(f"{path}: {error}"), file=sys.stderr)
        return
    best = max(answer.scores, key=answer.scores.__getitem__)
    if as_json:
        scores = {label: round(score, 4) for label, score in answer.scores.items()}
        given = {"path": path, "label": best, "score": scores[best], "scores": scores}
        print(json.dumps({**given, "ms": answer.ms}), flush=True)
    else:
        print(escaped(f"{path}: {best} {answer.scores[best]:.3f}"))


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Callable[[], object]]:
    """Yield a function to call for each picture; it moves a bar where that can be seen."""
    if sys.stdout.isatty() or not sys.stderr.isatty() or total < SHARE:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    where = Console(stderr=True)
    with Progress(*columns, console=where, transient=True, redirect_stdout=False) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)
