"""What `edge teach` shows while it works: a line on a terminal, or lines of JSON for a program."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Final

Show = Callable[[str, float], None]
"""Takes a line and the share of the work that is done, 0 to 1, about."""
READING: Final = 0.7
JUDGING: Final = 0.25
"""Shares of the work; the rest is the proof of the model."""
USUAL: Final = 40
"""Steps of judging after which half of its share is done: how many there are is not known."""
EVERY_S: Final = 0.1
NICE: Final = 10
THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def show(kind: str) -> Show:
    """Return what shows progress: ``json`` on stderr, or ``auto``, on a terminal alone."""
    if kind == "json":
        return _lines()
    if not sys.stderr.isatty():
        return lambda line, share: None
    return lambda line, share: print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def judging(shown: Show) -> Callable[[], None]:
    """Return a function to call after each step of judging."""
    steps = 0

    def tick() -> None:
        nonlocal steps
        steps += 1
        shown("judging what was taught", READING + JUDGING * steps / (steps + USUAL))

    return tick


def gently() -> None:
    """Let everything else that runs come first. Before NumPy is imported: one thread."""
    with contextlib.suppress(OSError):  # a sandbox may forbid it, and has a weight of its own
        os.nice(NICE)
    os.environ.update(dict.fromkeys(THREADS, "1"))


def _lines() -> Show:
    last_s = -EVERY_S

    def line(text: str, share: float) -> None:
        nonlocal last_s
        now_s = time.monotonic()
        if text and now_s - last_s >= EVERY_S:
            last_s = now_s
            print(json.dumps({"share": round(share, 3), "line": text}), file=sys.stderr, flush=True)

    return line
