"""A child process for one piece of work: it may crash, hang or grow.

Rule 1: whatever the child does, the parent goes on; it waits no longer than its caller says.
Rule 2: the child answers on its stdout; what libraries print goes to its stderr. Both are files in
        memory, never waited for.

Runs on the caller's thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import Final

from edge.frames import Seconds

KILL_S: Final = 1.0
"""Longest wait for the end of a child that was killed."""
ANSWER_BYTES: Final = 65_536
PRINTED_BYTES: Final = 4_096


class Child:
    """One child; begins at once. Raises OSError where it cannot.

    code     Python; ``sys.argv`` has this process's path and ``text``
    limit_s  after so long it is killed
    """

    def __init__(self, code: str, text: str, limit_s: Seconds) -> None:
        self._until_s = time.monotonic() + limit_s
        self.late = False
        self._answer = self._printed = -1
        environment = {k: v for k, v in os.environ.items() if k != "NOTIFY_SOCKET"}
        flags = ["-I", *(["-B"] if sys.dont_write_bytecode else [])]
        try:
            self._answer = os.memfd_create("answer")
            self._printed = os.memfd_create("printed")
            self._process = subprocess.Popen(
                [sys.executable, *flags, "-c", code, json.dumps(sys.path), text],
                stdin=subprocess.DEVNULL,
                stdout=self._answer,
                stderr=self._printed,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the parent, which ends the child
            )
        except OSError:
            self._release()
            raise

    def wait(self, timeout_s: Seconds) -> bool:
        """Return whether it is over, after ``timeout_s`` at the latest."""
        left_s = self._until_s - time.monotonic()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, min(timeout_s, left_s)))
        if self._process.poll() is None and time.monotonic() >= self._until_s:
            self.late = True
            self._kill()
        return self.late or self._process.returncode is not None

    def end(self) -> tuple[int, bytes, str]:
        """Return status, answer and the last line that was printed; once, when it is over."""
        answer, printed = os.pread(self._answer, ANSWER_BYTES, 0), _tail(self._printed)
        self._release()
        return self._process.returncode or 0, answer, printed

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


def _tail(file: int) -> str:
    """Return the last line that was printed."""
    start = max(0, os.fstat(file).st_size - PRINTED_BYTES)
    lines = os.pread(file, PRINTED_BYTES, start).decode("utf-8", "replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "")[:200]
