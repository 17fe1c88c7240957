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
from typing import Any, Final, NoReturn

PRINTED_MAX_BYTES: Final = 1_048_576
ALONE_S: Final = 5
"""So long after its limit the child ends by itself: its parent has gone."""


def main(text: str) -> NoReturn:
    """Try the model of the request ``text``; answer on stdout and end the process."""
    request = json.loads(text)
    answer = os.dup(1)
    os.dup2(2, 1)  # where the interpreter prints to
    _limit(request["limit_s"])
    error = _tried(request)
    os.write(answer, json.dumps(error).encode())
    os._exit(0)  # whatever the interpreter's own end would do


def _tried(request: dict[str, Any]) -> dict[str, str]:
    """Return the fields of the error that the model was refused with; none where it passed."""
    from edge.config import ModelConfig
    from edge.errors import ModelError
    from edge.model import engine as engines

    max_bytes, config = request["max_memory_bytes"], ModelConfig(**request["config"])
    memory = f"{max_bytes / 1e6:.0f} MB"
    raised = "raise `max_memory_bytes` in [model]"
    try:
        _limit_memory(max_bytes + request["file_bytes"])
        engines.load(config, request["sha256"])
    except ModelError as exc:
        what, hint = exc.what, exc.hint
        if isinstance(exc.__cause__, MemoryError):
            what, hint = f"the model takes more than {memory}", f"use a smaller model, or {raised}"
        elif isinstance(exc.__cause__, RuntimeError):
            # a runtime that gets no memory says that some node cannot be prepared
            more = f"if it needs more than {memory}, {raised}"
            hint = f"{hint}; {more}" if hint else more
        fields = {"where": exc.where, "expected": exc.expected, "got": exc.got}
        return {"what": what, "hint": hint, **fields}
    return {}


def _limit(limit_s: float) -> None:
    """Take the limits that hold from the beginning."""
    cores = len(os.sched_getaffinity(0))
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, PRINTED_MAX_BYTES)
    _lower(resource.RLIMIT_CPU, math.ceil(limit_s * cores) + ALONE_S)
    signal.alarm(math.ceil(limit_s) + ALONE_S)
    with contextlib.suppress(OSError):  # the kernel's choice before the daemon
        Path("/proc/self/oom_score_adj").write_text("1000")
    with contextlib.suppress(OSError):  # frames go on beside it; a sandbox may not allow it
        os.nice(10)


def _limit_memory(max_bytes: int) -> None:
    """Allow ``max_bytes`` more of what this process alone can write to than it has now.

    Source: getrlimit(2), RLIMIT_DATA, which counts private mappings since Linux 4.7.
    """
    status = Path("/proc/self/status").read_text()
    now = next(line for line in status.splitlines() if line.startswith("VmData:"))
    _lower(resource.RLIMIT_DATA, int(now.split()[1]) * 1024 + max_bytes)


def _lower(what: int, limit: int) -> None:
    hard = resource.getrlimit(what)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(what, (limit, limit))
