"""Messages to systemd: READY, RELOADING, STATUS, WATCHDOG, STOPPING, and the journal; else nothing.

Knows nothing of what the daemon does. A log call names its event with
``extra={"event": ..., "stage": ...}``, and the journal's entry can be found by either.

Source: sd_notify(3), sd_watchdog_enabled(3), systemd.exec(5) on JOURNAL_STREAM, sd-daemon(3),
systemd.journal-fields(7).
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import time
import uuid
from typing import Final

from edge.text import escaped

try:
    from systemd.daemon import notify as _notify
    from systemd.journal import JournalHandler
except ImportError:  # systemd-python is not installed: nothing to notify
    _notify = JournalHandler = None

STATUS_MAX: Final = 500
"""Characters that ``systemctl status`` shows on a screen or two."""
READY_S: Final = 1.0
"""Longest wait for a manager to take READY."""
SOCKET: Final = "/run/systemd/journal/socket"
EVENTS: Final = uuid.UUID("9b6c3f0e-5f6d-4b0e-9a55-3a8f1c7d2e41")
"""The namespace of the journal's MESSAGE_ID: an event's is its UUID version 5 in it."""


class Notifier:
    """Sends the service's state to the manager that started it, if any."""

    def __init__(self) -> None:
        self._socket = os.environ.get("NOTIFY_SOCKET", "")
        usec = os.environ.get("WATCHDOG_USEC", "")
        self.watchdog_interval_s: float | None = int(usec) / 2e6 if usec.isdecimal() else None
        """How often to send WATCHDOG: half its time-out; None without a watchdog."""

    def ready(self, status: str) -> None:
        """The start, or a reload, is done and attested."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def reloading(self) -> None:
        """Config and model are read again; ``ready`` follows, also where the reload fails."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now_us}")

    def status(self, status: str) -> None:
        """Show one line in ``systemctl status``."""
        self._send(f"STATUS={_line(status)}")

    def watchdog(self) -> None:
        """The loop makes progress."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """A clean stop has begun."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        """Send, unless a manager that hangs would block it; one that has gone is no error."""
        if not self._socket or _notify is None:
            return
        wait_s = READY_S if state.startswith("READY") else 0.0
        with contextlib.suppress(OSError):
            if not full(self._socket.replace("@", "\0", 1), wait_s):
                _notify(state)


def _line(status: str) -> str:
    """Return one line: text after a newline would be a field of its own, such as WATCHDOG."""
    return escaped(status, STATUS_MAX)


def journal(name: str = "edge") -> logging.Handler | None:
    """Return a handler for the journal where stderr is the journal's; else None.

    name  of the program, in each entry
    Every entry has EDGE_STAGE: ``stage`` if given, else the room; an event's has EDGE_EVENT and
    MESSAGE_ID.
    """
    if not journaled() or JournalHandler is None:
        return None
    handler: logging.Handler = JournalHandler(SYSLOG_IDENTIFIER=name)
    handler.addFilter(_fields)
    handler.addFilter(Writable(SOCKET))
    return handler


class Writable:
    """Passes records while journald takes datagrams; a journald that hangs would block the loop.

    The next record that passes has in EDGE_MISSING how many did not. Source: unix(7), connected
    datagram sockets are writable while the receiver's queue has room.
    """

    def __init__(self, path: str) -> None:
        self._path, self._missing = path, 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether ``record`` can be sent without blocking."""
        if full(self._path):
            self._missing += 1
            return False
        if self._missing:
            record.EDGE_MISSING, self._missing = self._missing, 0
        return True


def full(path: str, wait_s: float = 0.0) -> bool:
    """Return whether a datagram to the socket ``path`` would block, after ``wait_s``."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            probe.connect(path)  # each time: journald may have been restarted
            poll = select.poll()
            poll.register(probe, select.POLLOUT)
            return not poll.poll(1000 * wait_s)
    except (OSError, ValueError):  # no receiver: sending does not block
        return False


def journaled() -> bool:
    """Return whether stderr is the journal's; JOURNAL_STREAM alone is inherited, too."""
    try:
        stream = os.fstat(2)
    except OSError:  # closed
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"


def message_id(event: str) -> str:
    """Return the journal's MESSAGE_ID of an event: 32 hexadecimal digits."""
    return uuid.uuid5(EVENTS, event).hex


def _fields(record: logging.LogRecord) -> bool:
    top, _, rest = record.name.partition(".")
    part = rest.partition(".")[0] if top == "edge" and rest else top
    record.EDGE_STAGE = getattr(record, "stage", part)
    if event := getattr(record, "event", None):
        record.EDGE_EVENT, record.MESSAGE_ID = event, message_id(event)
    return True
