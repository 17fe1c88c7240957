"""Runs a program of this machine, ssh most of all, whose output is a device's: it may be anything.

Rule 1: both streams are read as they come, so neither blocks the other, and neither is held beyond
        OUTPUT_MAX.
Rule 2: every program has a deadline, however little or much it prints.
Rule 3: what goes beyond either is ended, with all that it has started, and so is everything once
        ENDING is set. What it began on a device may go on there.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Final

from deploy.errors import DeployError

OUTPUT_MAX: Final = 1_000_000
"""Bytes of each stream: the lines of an installation have a few thousand."""
CHUNK: Final = 65_536
POLL_S: Final = 0.5
HINT: Final = "what has begun there may go on"
GRACE_S: Final = 5.0
"""From SIGTERM to SIGKILL."""
STALL_S: Final = 240.0
"""Without progress in a file that is sent; ssh holds 2 MB of it, at 20 kB/s for 100 s."""
ENDING: Final = threading.Event()
"""Set by an interruption: from then on nothing more is begun on a device."""


def run(
    command: Sequence[str],
    where: str,
    limit_s: float,
    given: IO[bytes] | None = None,
    line: Callable[[str], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; return its output and status.

    where  of error lines
    given  its standard input
    line   gets each line of its output as it comes

    Raises DeployError: 69 after ``limit_s``, an interruption, or STALL_S in which nothing more of
    ``given`` was read; 71 for too much output.
    """
    out, error, until_s = bytearray(), bytearray(), time.monotonic() + limit_s
    with _running(command, given) as process, selectors.DefaultSelector() as ready:
        for stream, content in ((process.stdout, out), (process.stderr, error)):
            assert stream is not None
            ready.register(stream, selectors.EVENT_READ, content)
        passed, progress = 0, _Progress(given)
        while ready.get_map() or process.poll() is None:
            left_s = until_s - time.monotonic()
            if ENDING.is_set():
                raise DeployError(69, "interrupted", where=where)
            if left_s <= 0:
                raise DeployError(69, f"no end after {limit_s:.0f} s", where=where, hint=HINT)
            if progress.stalled():
                what = f"no more of the file was taken for {STALL_S:.0f} s"
                raise DeployError(69, what, where=where, hint=HINT)
            if not ready.get_map():  # it has closed its output, and runs on
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(min(left_s, POLL_S))
                continue
            for key, _ in ready.select(min(left_s, POLL_S)):
                part = os.read(key.fd, CHUNK)
                key.data.extend(part)
                if not part:
                    ready.unregister(key.fileobj)
                if len(key.data) > OUTPUT_MAX:
                    expected = f"at most {OUTPUT_MAX} bytes"
                    raise DeployError(
                        71, "too much output", where=where, expected=expected, hint=HINT
                    )
            while line and (end := out.find(b"\n", passed)) >= 0:
                line(_text(out[passed:end]))
                passed = end + 1
        if line and passed < len(out):
            line(_text(out[passed:]))
    return subprocess.CompletedProcess(command, process.returncode, _text(out), _text(error))


class _Progress:
    """How far a program has read the file that it was given: it shares its position."""

    def __init__(self, given: IO[bytes] | None) -> None:
        sized = given is not None and os.fstat(given.fileno()).st_size > 0
        self._given = given if sized else None
        self._at, self._since_s = 0, time.monotonic()

    def stalled(self) -> bool:
        """Return whether nothing of it was read for STALL_S."""
        if self._given is None:
            return False
        if (at := os.lseek(self._given.fileno(), 0, os.SEEK_CUR)) != self._at:
            self._at, self._since_s = at, time.monotonic()
        return time.monotonic() - self._since_s > STALL_S


def _text(content: bytearray) -> str:
    return content.decode(errors="replace")


@contextlib.contextmanager
def _running(command: Sequence[str], given: IO[bytes] | None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program while the block lasts; end it where the block raises.

    In a session of its own: Ctrl-C reaches this process alone, which then ends the program.
    """
    if ENDING.is_set():
        raise DeployError(69, "interrupted")
    with subprocess.Popen(
        command,
        stdin=given or subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            yield process
        except BaseException:
            _end(process, signal.SIGTERM)
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_S)
            finally:
                _end(process, signal.SIGKILL)  # what it has started may outlive it
            raise


def _end(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """End a program and what it has started, such as ssh's proxy."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
