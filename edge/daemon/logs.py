"""What is logged, and why a process ends: to stderr, or to the journal. See systemd."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, TextIO

from edge.daemon import stderr, systemd
from edge.errors import EdgeError
from edge.text import escaped


class OneLine(logging.Formatter):
    """Every record is one line, whoever named what is in it; a traceback has its own lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802, logging's name
        """Return the line of a record."""
        record.message = escaped(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802, logging's name
        """Return a traceback, each of its lines escaped."""
        return "\n".join(map(escaped, super().formatException(ei).split("\n")))


def configure() -> None:
    """Log from INFO on; whoever wants another level sets the root logger's."""
    journal = systemd.journal()
    handler = journal or stderr.Handler(_stderr())
    form = "%(message)s" if journal or systemd.journaled() else "%(asctime)s %(message)s"
    handler.setFormatter(OneLine(form, datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _stderr() -> TextIO:
    """Return a stderr of the log's own: decoders' is silenced for as long as they run."""
    try:
        return open(os.dup(2), "w", buffering=1, errors="backslashreplace")
    except OSError:  # there is none
        return sys.stderr


def fail(error: EdgeError) -> None:
    """Say why the process ends.

    To the journal through stderr: an entry sent to it by itself may come when the process is gone,
    and would belong to no unit then.
    """
    if systemd.journaled():
        stderr.write(f"<3>{error}\n".encode())
        systemd.Notifier().status(str(error))
    else:
        stderr.write(f"edge: {error}\n".encode())
