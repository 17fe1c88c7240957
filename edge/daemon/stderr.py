"""A stderr that never blocks: lines for which there is no room are dropped and counted.

A pipe whose reader has stopped (a hung `tee`, a paused container's log driver) would block the
loop, the watchdog and the end of the process. Source: pipe(7), PIPE_BUF; poll(2).
"""

from __future__ import annotations

import logging
import os
import select
from typing import Final, TextIO

STDERR: Final = 2


class Handler(logging.StreamHandler[TextIO]):
    """Writes each record to a stream's file; reports later how many are missing."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.dropped_total = 0
        """Records that were not written, or not whole."""
        self._missing = 0  # since the last record that was written
        self._cut = False  # the last record was written in part

    def emit(self, record: logging.LogRecord) -> None:
        """Write ``record``, or as much of it as there is room for."""
        try:
            self._emit(record)
        except Exception:  # a record that cannot be formatted must not end the process
            self.handleError(record)

    def _emit(self, record: logging.LogRecord) -> None:
        try:
            file = self.stream.fileno()
        except (AttributeError, OSError, ValueError):  # no stream, no file, or closed
            super().emit(record)
            return
        head = "\n" if self._cut else ""
        if self._missing:
            head += f"{self._missing} log lines are missing: they were not read in time\n"
        content = f"{head}{self.format(record)}\n".encode(errors="backslashreplace")
        written = write(content, file)
        if written == len(content):
            self._missing, self._cut = 0, False
        else:
            self._missing, self._cut = self._missing + 1, self._cut or written > 0
            self.dropped_total += 1


def write(content: bytes, file: int = STDERR) -> int:
    """Write as much of ``content`` as does not block; return how many bytes that is."""
    poll, written = select.poll(), 0
    poll.register(file, select.POLLOUT)
    try:
        while written < len(content) and any(now & select.POLLOUT for _, now in poll.poll(0)):
            written += os.write(file, content[written : written + select.PIPE_BUF])
    except OSError:  # the reader has gone
        pass
    return written
