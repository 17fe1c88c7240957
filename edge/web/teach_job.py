"""One job of teaching: `edge teach` as a child process, of low priority and in one thread.

What it makes lies in a folder of its own until it is complete. The child holds the lock on the
folder of all jobs, also after this process was killed; it ends at its next line then, which nobody
reads. Runs on the loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from edge.errors import EdgeError
from edge.text import escaped
from edge.web.child import command, environment, kill

LONGEST_S: Final = 3600.0
LINE_MAX: Final = 65_536
REPORT_MAX: Final = 4_000_000
"""Bytes of a line, and of the report."""
ERROR_MAX: Final = 500
ERROR: Final = b"edge: "
"""What the line of an error begins with."""


class _Progress(msgspec.Struct):
    share: float
    line: str


class Job:
    """A child that teaches.

    share, line  how far it is
    """

    def __init__(self) -> None:
        self.share, self.line = 0.0, "starting"
        self.cancelled = False
        self._process: asyncio.subprocess.Process | None = None
        self._error = ""

    async def run(self, arguments: Sequence[str], state: Path, lock: int) -> dict[str, Any]:
        """Return the child's report. Raises EdgeError, with its own words.

        lock  a descriptor that the child inherits
        """
        process = await asyncio.create_subprocess_exec(
            *command("teach", *arguments, "--json", "--progress=json", "--gently", "--skip-empty"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_MAX,
            pass_fds=(lock,),
            start_new_session=True,
            env=environment(state),
        )
        self._process = process
        try:
            if self.cancelled:
                self.cancel()
            async with asyncio.timeout(LONGEST_S):
                followed = self._follow(_stream(process.stderr))
                output, _ = await asyncio.gather(_all(_stream(process.stdout)), followed)
                status = await process.wait()
        except TimeoutError as exc:
            raise EdgeError(f"teaching took longer than {LONGEST_S:.0f} s") from exc
        finally:
            self._kill()
        if status:
            raise EdgeError(self._error or f"teaching has ended with status {status}")
        try:
            report: dict[str, Any] = msgspec.json.decode(output.splitlines()[-1], type=dict)
        except (msgspec.DecodeError, IndexError) as exc:
            raise EdgeError("teaching has ended without a report") from exc
        return report

    def cancel(self) -> None:
        """Kill the child, with what it has started."""
        self.cancelled = True
        self._kill()

    def _kill(self) -> None:
        if self._process is not None:
            kill(self._process)

    async def _follow(self, stream: asyncio.StreamReader) -> None:
        """Take progress and errors from stderr."""
        while True:
            try:
                line = await stream.readuntil(b"\n")
            except asyncio.IncompleteReadError as exc:
                line = exc.partial
                if not line:
                    return
            except asyncio.LimitOverrunError as exc:
                await stream.readexactly(exc.consumed)
                continue
            try:
                progress = msgspec.json.decode(line, type=_Progress)
            except (msgspec.DecodeError, UnicodeDecodeError):
                if line.startswith(ERROR):  # what else comes is a library's
                    text = line.removeprefix(ERROR).decode(errors="replace").strip()
                    self._error = escaped(text, ERROR_MAX)
            else:
                self.share = min(1.0, max(self.share, progress.share))
                self.line = escaped(progress.line, 200)


async def _all(stream: asyncio.StreamReader) -> bytes:
    """Return everything. Raises EdgeError beyond REPORT_MAX."""
    output = bytearray()
    while chunk := await stream.read(LINE_MAX):
        output += chunk
        if len(output) > REPORT_MAX:
            raise EdgeError(f"the report is longer than {REPORT_MAX} bytes")
    return bytes(output)


def _stream(pipe: asyncio.StreamReader | None) -> asyncio.StreamReader:
    if pipe is None:
        raise EdgeError("the child has no pipe")
    return pipe
