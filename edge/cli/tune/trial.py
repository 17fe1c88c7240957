"""Runs one child and waits for its reply; whatever the child does, the caller goes on.

Ctrl-C and SIGTERM set a flag that ends the wait; a child never outlives it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from types import FrameType
from typing import Final

import msgspec

from edge.cli.tune.records import Fault, Reply, Request
from edge.frames import Seconds
from edge.text import escaped

POLL_S: Final = 0.05
ANSWER_BYTES: Final = 65_536
PRINTED_BYTES: Final = 300
START_LIMIT_S: Final = 60.0
"""Longest start of a child, in addition to what it measures: an unproven model is tried first."""
CODE: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from edge import lean; lean.begin();"
    "from edge.cli.tune import child; child.main()"
)


class Stopped(Exception):
    """Ctrl-C or SIGTERM."""


class Stop:
    """A flag that SIGINT and SIGTERM set; a second one ends the process as ever."""

    def __init__(self) -> None:
        self.requested = False

    def begin(self) -> None:
        """Handle the signals from now on, on the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                signal.signal(number, self._arrived)

    def _arrived(self, number: int, _: FrameType | None) -> None:
        self.requested = True
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, default)

    def check(self) -> None:
        """Raise Stopped once a signal has arrived."""
        if self.requested:
            raise Stopped


def run(request: Request, stop: Stop) -> Reply:
    """Return the reply of a child that measures ``request``, or why there is none.

    Raises Stopped.
    """
    stop.check()
    limit_s = request.limit_s
    text = json.dumps(msgspec.to_builtins(request))  # a path may hold any bytes
    flags = ["-I", *(["-B"] if sys.dont_write_bytecode else [])]
    with contextlib.ExitStack() as closing:
        asked, answer, printed = (
            closing.enter_context(os.fdopen(os.memfd_create(name), "w+b"))
            for name in ("request", "answer", "printed")
        )
        asked.write(text.encode())  # not an argument: a source may hold a password
        asked.seek(0)
        try:
            process = subprocess.Popen(
                [sys.executable, *flags, "-c", CODE, json.dumps(sys.path)],
                stdin=asked,
                stdout=answer,
                stderr=printed,
                start_new_session=True,  # Ctrl-C is for the parent, which ends the child
            )
        except OSError as exc:
            return _failed(f"a child cannot be started: {exc.strerror}")
        try:
            if not _ended(process, limit_s, stop):
                return _failed(f"no reply in {limit_s:.0f} s")
        finally:
            process.kill()
            process.wait()
        return _reply(process.returncode, _head(answer.fileno()), _tail(printed.fileno()))


def _ended(process: subprocess.Popen[bytes], limit_s: Seconds, stop: Stop) -> bool:
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL_S)
            return True
        stop.check()
    return False


def _reply(status: int, answer: bytes, printed: str) -> Reply:
    if status == 0:
        with contextlib.suppress(ValueError, RecursionError):  # msgspec's errors are ValueErrors
            return msgspec.json.decode(answer, type=Reply)
        return _failed("no reply")
    if -status == signal.SIGALRM:
        return _failed("no reply in time")
    why = f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"
    return _failed(f"{why}: {printed}" if printed else why)


def _failed(what: str) -> Reply:
    return Reply(fault=Fault("EdgeError", escaped(what)))


def _head(file: int) -> bytes:
    return os.pread(file, ANSWER_BYTES, 0)


def _tail(file: int) -> str:
    size = os.fstat(file).st_size
    content = os.pread(file, PRINTED_BYTES, max(0, size - PRINTED_BYTES))
    lines = content.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
