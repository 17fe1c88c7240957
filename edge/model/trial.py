"""A child process in which an unproven model is tried: it may crash, hang or grow.

Rule 1: whatever the child does, the parent goes on; it waits no longer than its caller says.
Rule 2: the child has limits of its own, and ends at them without its parent too.
Rule 3: the child answers with one JSON object on its stdout: why the model is refused, or null.
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
from pathlib import Path
from typing import Final

import msgspec

from edge.config import ModelConfig
from edge.errors import ModelError
from edge.frames import Seconds
from edge.model.locate import Gives
from edge.model.trial_child import Refusal, Request

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

    file    the model's
    sha256  of its file; another is refused
    gives   what the model must give
    """

    def __init__(
        self, config: ModelConfig, file: Path, sha256: str, gives: Gives = "scores"
    ) -> None:
        self._where, self._max_memory_bytes = str(file), config.max_memory_bytes
        self._until_s = time.monotonic() + LIMIT_S
        self._late = False
        self._answer = self._printed = -1
        request = Request(config, sha256, LIMIT_S, file.stat().st_size, gives)
        text = json.dumps(msgspec.to_builtins(request))  # a path may hold any bytes
        environment = {k: v for k, v in os.environ.items() if k != "NOTIFY_SOCKET"}
        flags = ["-I", *(["-B"] if sys.dont_write_bytecode else [])]
        try:
            self._answer = os.memfd_create("answer")
            self._printed = os.memfd_create("printed")
            self._process = subprocess.Popen(
                [sys.executable, *flags, "-c", CODE, json.dumps(sys.path), text],
                stdin=subprocess.DEVNULL,
                stdout=self._answer,
                stderr=self._printed,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the parent, which ends the child
            )
        except OSError as exc:
            self._release()
            reason = f"the model cannot be tried: {exc.strerror}"
            raise ModelError(reason, where=self._where) from exc

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
            reason = f"the model does not finish in {LIMIT_S:.0f} s"
            raise ModelError(reason, where=self._where, hint=SMALLER)
        if status == 0:
            with contextlib.suppress(msgspec.DecodeError, RecursionError):  # not an answer
                refusal = msgspec.json.decode(answer, type=Refusal | None)
                if refusal is not None:
                    raise ModelError(**msgspec.structs.asdict(refusal))
                return
        memory = f"{self._max_memory_bytes / 1e6:.0f} MB"
        if -status == signal.SIGKILL:
            reason = f"the model was killed, probably out of memory; its limit is {memory}"
            raise ModelError(reason, where=self._where, hint=SMALLER)
        if status < 0:
            raise ModelError(
                f"the model crashes its interpreter: {_signal_name(-status)}",
                where=self._where,
                got=printed if -status == signal.SIGABRT else "",
                hint="restore the file or convert it again; if it needs more than"
                f" {memory}, raise `max_memory_bytes` in [model]",
            )
        reason = f"the trial of the model ended with status {status}"
        raise ModelError(reason, where=self._where, got=printed)

    def close(self) -> None:
        """End it if it still runs. Safe to call twice."""
        if self._process.poll() is None:
            self._kill()
        self._release()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):  # a read of a failing disk lasts
            self._process.wait(KILL_S)

    def _release(self) -> None:
        for file in (self._answer, self._printed):
            if file >= 0:
                os.close(file)
        self._answer = self._printed = -1


def _head(file: int, size: int) -> bytes:
    return os.pread(file, size, 0)


def _tail(file: int) -> str:
    """Return the last line that was printed."""
    start = max(0, os.fstat(file).st_size - PRINTED_BYTES)
    lines = os.pread(file, PRINTED_BYTES, start).decode("utf-8", "replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "")[:200]


def _signal_name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return signal.strsignal(number) or f"signal {number}"
