"""Child processes of the server: what they get of its environment, and their end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Final

OURS: Final = ("NOTIFY_SOCKET", "JOURNAL_STREAM", "LISTEN_PID", "LISTEN_FDS", "WATCHDOG_USEC")
"""What systemd gave this process; the child's streams are pipes."""


def environment(state: Path) -> dict[str, str]:
    """Return a child's environment. state: the state directory."""
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    return {**kept, "STATE_DIRECTORY": str(state)}


def kill(process: asyncio.subprocess.Process) -> None:
    """Kill a child with what it has started in its session, if it has not ended."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
