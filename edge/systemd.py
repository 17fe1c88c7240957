"""Talk to systemd: READY, STATUS, WATCHDOG, STOPPING; silent where it is not there.

Knows nothing of what the daemon does. Source: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import os
from typing import Any

try:
    from systemd.daemon import notify as _notify
except ImportError:  # systemd-python is not installed: nothing to notify
    _notify = None


class Notifier:
    """Sends the service's state to the manager that started it, if any."""

    def __init__(self) -> None:
        self._notify: Any = _notify if os.environ.get("NOTIFY_SOCKET") else None
        usec = os.environ.get("WATCHDOG_USEC", "")
        self.watchdog_interval_s: float | None = int(usec) / 2e6 if usec.isdigit() else None
        """How often the watchdog wants a sign of life: half its time-out; None without one."""

    def ready(self, status: str) -> None:
        """The start is done and attested."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """Show one line in ``systemctl status``."""
        self._send(f"STATUS={status}")

    def watchdog(self) -> None:
        """The loop makes progress."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """A clean stop has begun."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if self._notify:
            self._notify(state)
