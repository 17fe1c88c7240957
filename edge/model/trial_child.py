"""The child's side of a trial: takes its limits, starts the model, answers. See trial.

A process of its own, with a session of its own; nothing else runs in it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import signal
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from edge.config import ModelConfig
from edge.errors import ModelError
from edge.model.locate import Gives

PRINTED_MAX_BYTES: Final = 1_048_576
ALONE_S: Final = 5
"""So long after its limit the child ends by itself: its parent has gone."""


class Request(msgspec.Struct, frozen=True):
    """What the parent wants tried.

    sha256      of the model's file; another is refused
    limit_s     longest trial
    file_bytes  size of the model's file, on top of the config's memory limit
    gives       what the model must give
    """

    config: ModelConfig
    sha256: str
    limit_s: float
    file_bytes: int
    gives: Gives


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a model is refused: the fields of a ModelError."""

    what: str
    where: str = ""
    expected: str = ""
    got: str = ""
    hint: str = ""


def main(text: str) -> NoReturn:
    """Try the model of the request ``text``; answer on stdout and end the process."""
    request = msgspec.convert(json.loads(text), Request)
    answer = os.dup(1)
    os.dup2(2, 1)  # where the interpreter prints to
    limit(request.limit_s, PRINTED_MAX_BYTES)
    os.write(answer, msgspec.json.encode(_refusal(request)))
    os._exit(0)  # without the interpreter's own clean-up, which may crash


def _refusal(request: Request) -> Refusal | None:
    """Return why the model is refused; None where it has passed."""
    from edge.model.engine import prepare

    max_bytes = request.config.max_memory_bytes
    memory, more = f"{max_bytes / 1e6:.0f} MB", "raise `max_memory_bytes` in [model]"
    try:
        limit_memory(max_bytes + request.file_bytes)
        prepare(request.config, request.sha256, request.gives)
    except ModelError as exc:
        what, hint = exc.what, exc.hint
        if isinstance(exc.__cause__, MemoryError):
            what, hint = f"the model needs more than {memory}", f"use a smaller model, or {more}"
        elif isinstance(exc.__cause__, RuntimeError):
            # a runtime that gets no memory says that some node cannot be prepared
            memory_hint = f"if it needs more than {memory}, {more}"
            hint = f"{hint}; {memory_hint}" if hint else memory_hint
        return Refusal(what, exc.where, exc.expected, exc.got, hint)
    return None


def limit(limit_s: float, file_bytes: int) -> None:
    """Take the limits that hold from the beginning. file_bytes: of a file that is written."""
    cores = len(os.sched_getaffinity(0))
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, file_bytes)
    _lower(resource.RLIMIT_CPU, math.ceil(limit_s * cores) + ALONE_S)
    signal.alarm(math.ceil(limit_s) + ALONE_S)
    with contextlib.suppress(OSError):  # the kernel kills this process before the daemon
        Path("/proc/self/oom_score_adj").write_text("1000")
    with contextlib.suppress(OSError):  # frames go on beside it; a sandbox may not allow it
        os.nice(10)


def limit_memory(max_bytes: int) -> None:
    """Allow this process to have ``max_bytes`` of private writable memory more than it has now.

    Source: getrlimit(2), RLIMIT_DATA, which counts private mappings since Linux 4.7.
    """
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmData:"))
    _lower(resource.RLIMIT_DATA, int(line.split()[1]) * 1024 + max_bytes)


def _lower(kind: int, limit: int) -> None:
    hard = resource.getrlimit(kind)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (limit, limit))
