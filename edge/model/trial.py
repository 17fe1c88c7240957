"""A child process in which a model that nobody has proven is tried: it may crash, hang or grow.

Rule 1: whatever becomes of the child, the parent goes on; it waits no longer than it is told to.
Rule 2: the child has limits of its own and ends at them without its parent too.
Rule 3: the child answers with one JSON object on its stdout, the fields of an error or none.
        What the interpreter prints goes to its stderr. Both are files in memory, never waited for.

Runs on the caller's thread. What the child does is in trial_child.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any, Final

from edge.errors import ModelError
from edge.frames import Seconds

LIMIT_S: Final = 40.0
"""Longest trial. The model is loaded again after it: both fit into the 90 s of systemd's start."""
KILL_S: Final = 1.0
"""Longest wait for the end of a child that was killed."""
ANSWER_BYTES: Final = 65_536
PRINTED_BYTES: Final = 4_096
CODE: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from edge.model import trial_child; trial_child.main(sys.argv[2])"
)
SMALLER: Final = "use a smaller model"


class Trial:
    """One trial; begins at once.

    config            of the model, as plain values
    where             the model's file, for messages
    max_memory_bytes  for the model alone, beside its file
    sha256            of its file: another is refused
    """

    def __init__(
        self, config: dict[str, Any], where: str, max_memory_bytes: int, sha256: str
    ) -> None:
        self._where, self._max_memory_bytes = where, max_memory_bytes
        self._until_s = time.monotonic() + LIMIT_S
        self._late = False
        self._answer, self._printed = os.memfd_create("answer"), os.memfd_create("printed")
        request = {
            "config": config,
            "sha256": sha256,
            "limit_s": LIMIT_S,
            "max_memory_bytes": max_memory_bytes,
            "file_bytes": os.stat(where).st_size,
        }
        environment = {k: v for k, v in os.environ.items() if k != "NOTIFY_SOCKET"}
        flags = ["-I", *(["-B"] if sys.dont_write_bytecode else [])]
        try:
            self._process = subprocess.Popen(
                [sys.executable, *flags, "-c", CODE, json.dumps(sys.path), json.dumps(request)],
                stdin=subprocess.DEVNULL,
                stdout=self._answer,
                stderr=self._printed,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the parent, which sees to the child
            )
        except OSError as exc:
            self._release()
            raise ModelError(f"the model cannot be tried: {exc.strerror}", where=where) from exc

    def wait(self, timeout_s: Seconds) -> bool:
        """Return whether it is over, after ``timeout_s`` at the latest."""
        left_s = self._until_s - time.monotonic()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, min(timeout_s, left_s)))
        if self._process.poll() is None and time.monotonic() >= self._until_s:
            self._late = True
            self._kill()
        return self._late or self._process.returncode is not None

    def check(self) -> None:
        """Return where the model has passed; once it is over. Raises ModelError."""
        answer, printed = _head(self._answer, ANSWER_BYTES), _tail(self._printed)
        self._release()
        status = self._process.returncode or 0
        if self._late or -status in (signal.SIGXCPU, signal.SIGALRM):
            what = f"the model does not finish in {LIMIT_S:.0f} s"
            raise ModelError(what, where=self._where, hint=SMALLER)
        if status == 0:
            error = _decoded(answer)
            if error:
                raise ModelError(**error)
            if error is not None:
                return
        memory = f"{self._max_memory_bytes / 1e6:.0f} MB"
        if -status == signal.SIGKILL:
            what = f"the model was killed, as for want of memory; it may take {memory}"
            raise ModelError(what, where=self._where, hint=SMALLER)
        if status < 0:
            name = signal.strsignal(-status) or f"signal {-status}"
            with contextlib.suppress(ValueError):
                name = signal.Signals(-status).name
            raise ModelError(
                f"the model crashes its interpreter: {name}",
                where=self._where,
                got=printed if -status == signal.SIGABRT else "",
                hint="restore the file or convert it again; if it needs more than"
                f" {memory}, raise `max_memory_bytes` in [model]",
            )
        what = f"the trial of the model ended with status {status}"
        raise ModelError(what, where=self._where, got=printed)

    def close(self) -> None:
        """End it, where it goes on. Safe to call twice."""
        if self._process.poll() is None:
            self._kill()
        self._release()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):  # a read from a dying card lasts
            self._process.wait(KILL_S)

    def _release(self) -> None:
        for file in (self._answer, self._printed):
            if file >= 0:
                os.close(file)
        self._answer = self._printed = -1


def _head(file: int, size: int) -> bytes:
    return os.pread(file, size, 0)


def _decoded(answer: bytes) -> dict[str, str] | None:
    """Return the fields of an error; empty where there is none, None for what is no answer."""
    with contextlib.suppress(ValueError):
        fields = json.loads(answer)
        if isinstance(fields, dict):
            return fields
    return None


def _tail(file: int) -> str:
    """Return the last line that was printed."""
    start = max(0, os.fstat(file).st_size - PRINTED_BYTES)
    lines = os.pread(file, PRINTED_BYTES, start).decode("utf-8", "replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "")[:200]
