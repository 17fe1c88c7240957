"""Child processes of the server: `edge` again, what it gets of the environment, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Final

OURS: Final = ("NOTIFY_SOCKET", "JOURNAL_STREAM", "LISTEN_PID", "LISTEN_FDS", "WATCHDOG_USEC")
"""What systemd gave this process; the child's streams are pipes."""
CODE: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1));"
    "from edge.__main__ import leave; leave()"
)


def command(*arguments: str) -> list[str]:
    """Return the command line of `edge` with these arguments.

    With this process's own path, where a packaged edge has its private folder: `-m edge` would not
    find it there.
    """
    flags = ["-I", *(["-B"] if sys.dont_write_bytecode else [])]
    return [sys.executable, *flags, "-c", CODE, json.dumps(sys.path), *arguments]


def environment(state: Path) -> dict[str, str]:
    """Return a child's environment. state: the state directory."""
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    return {**kept, "STATE_DIRECTORY": str(state)}


def kill(process: asyncio.subprocess.Process) -> None:
    """Kill a child with what it has started in its session, if it has not ended."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
