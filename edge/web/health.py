"""The address of `edge doctor`: its checks, by a child process with a limit on its time.

A child, because the probes import a camera's library and the model's runtime, and may hang. Where
this process is in a sandbox of systemd's, the child is too: what cannot be seen from there is
`unknown`, not a fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from fastapi import Request
from starlette.responses import Response

from edge import config as configs
from edge.web import described
from edge.web.answers import Refused, answer
from edge.web.child import command, environment, kill
from edge.web.place import Place
from edge.web.routes import Route

LONGEST_S: Final = 60.0
"""The longest probe may take 45."""
FRESH_S: Final = 5.0
"""Checks that are younger are given to anyone who asks."""
OUTPUT_MAX: Final = 500_000
SUDO: Final = "run `sudo edge doctor` on the device"
UNSEEN: Final = {"camera": "cameras", "broker": "the network", "published": "the network"}
"""What a sandbox hides from a check: no verdict but ok is one."""
UNSAID: Final = {"service": "systemd's answer", "events": "the journal"}
"""What it may hide: only where nothing is known."""
READ_ONLY: Final = "/ is read-only; "
"""In the sandbox it always is."""


class Check(msgspec.Struct):
    """The result for one part of the device, as of `edge doctor --json`."""

    name: str
    verdict: Literal["ok", "warning", "fault", "unknown"]
    line: str
    hint: str = ""
    facts: dict[str, Any] = {}


class Report(msgspec.Struct):
    """All checks. age_s: how old they are."""

    healthy: bool
    version: str
    checks: list[Check]
    age_s: float = 0.0


class Health:
    """The handler. One examination at a time; who asks meanwhile waits for it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._running: asyncio.Task[Report] | None = None
        self._done_s = -FRESH_S
        self._sandbox = "INVOCATION_ID" in os.environ and not _has_network()

    def routes(self) -> list[Route]:
        """Return the address."""
        return [
            Route(
                *("/api/doctor", "GET", self.doctor, "What `edge doctor` finds"),
                *(described.gives(Report), (503, 504)),
            )
        ]

    async def doctor(self, _: Request) -> Response:
        """Return the checks."""
        task = self._running
        if task is None or (task.done() and not self._is_fresh(task)):
            task = self._running = asyncio.create_task(self._examine())
        report = await asyncio.shield(task)
        return answer(
            msgspec.structs.replace(report, age_s=round(time.monotonic() - self._done_s, 1))
        )

    def close(self) -> None:
        """End the child."""
        if self._running is not None:
            self._running.cancel()

    def _is_fresh(self, task: asyncio.Task[Report]) -> bool:
        failed = task.cancelled() or task.exception() is not None
        return not failed and time.monotonic() - self._done_s < FRESH_S

    def _environment(self) -> dict[str, str]:
        there = environment(self._place.state)
        if self._sandbox:  # the doctor asks systemd where the daemon's socket is
            there.setdefault("RUNTIME_DIRECTORY", str(configs.SERVICE_SOCKET.parent))
        return there

    async def _examine(self) -> Report:
        """Return the report of a child. Raises Refused, 503 or 504."""
        config = ("--config", str(self._place.config)) if self._place.config else ()
        process = await asyncio.create_subprocess_exec(
            *command("doctor", "--json", *config),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            env=self._environment(),
        )
        try:
            async with asyncio.timeout(LONGEST_S):
                output = b""
                while process.stdout and (chunk := await process.stdout.read(65_536)):
                    output += chunk
                    if len(output) > OUTPUT_MAX:
                        raise Refused(503, "edge doctor says too much")
        except TimeoutError as exc:
            raise Refused(504, f"edge doctor has not ended in {LONGEST_S:.0f} s") from exc
        finally:
            kill(process)
            with contextlib.suppress(ProcessLookupError):
                await process.wait()
        try:
            report = msgspec.json.decode(output, type=Report)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise Refused(503, "edge doctor has failed; see the log") from exc
        self._done_s = time.monotonic()
        return _seen_from_a_sandbox(report) if self._sandbox else report


def _seen_from_a_sandbox(report: Report) -> Report:
    """Return a report that claims nothing of what this process cannot see."""
    checks = [_as_seen(check) for check in report.checks]
    healthy = all(check.verdict != "fault" for check in checks)
    return msgspec.structs.replace(report, checks=checks, healthy=healthy)


def _as_seen(check: Check) -> Check:
    hidden = UNSEEN.get(check.name) if check.verdict != "ok" else None
    if check.verdict == "unknown":
        hidden = hidden or UNSAID.get(check.name)
    if hidden:
        return Check(
            check.name, "unknown", f"{hidden} cannot be seen from the page's sandbox", SUDO
        )
    return msgspec.structs.replace(check, line=check.line.removeprefix(READ_ONLY))


def _has_network() -> bool:
    """Return whether there is any network but loopback. Source: proc(5), /proc/net/dev."""
    try:
        lines = Path("/proc/net/dev").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return True
    return any(line.partition(":")[0].strip() != "lo" for line in lines[2:])
