"""The log, and the line with which a process ends: on stderr, or in the journal. See systemd."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, TextIO

from edge.config import LogConfig
from edge.daemon import stderr, systemd
from edge.errors import EdgeError
from edge.text import escaped


class OneLine(logging.Formatter):
    """One line a record, whatever text from outside is in it; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802, logging's name
        """Return the line of a record."""
        record.message = escaped(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802, logging's name
        """Return a traceback, each of its lines escaped."""
        return "\n".join(map(escaped, super().formatException(ei).split("\n")))


def configure(name: str = "edge") -> None:
    """Log from INFO on, until ``set_level``. name: of the program, in the journal."""
    journal = systemd.journal(name)
    handler = journal or stderr.Handler(_stderr())
    form = "%(message)s" if journal or systemd.journaled() else "%(asctime)s %(message)s"
    handler.setFormatter(OneLine(form, datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def set_level(config: LogConfig) -> None:
    """Log from the configured level on."""
    logging.getLogger().setLevel(config.level.upper())


def _stderr() -> TextIO:
    """Return a stderr of the log's own: that of a decoder is silenced while it runs."""
    try:
        return open(os.dup(2), "w", buffering=1, errors="backslashreplace")
    except OSError:  # there is none
        return sys.stderr


def fail(error: EdgeError) -> None:
    """Write why the process ends.

    To the journal through stderr: an entry of its own may arrive when the process is gone, and
    would belong to no unit then.
    """
    if systemd.journaled():
        stderr.write(f"<3>{error}\n".encode())
        systemd.Notifier().status(str(error))
    else:
        stderr.write(f"edge: {error}\n".encode())
