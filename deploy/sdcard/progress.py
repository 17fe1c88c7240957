"""Progress of reading and writing: on a terminal now and then, and at the end the speed."""

from __future__ import annotations

import sys
import time
from typing import Final

from edge.text import escaped

MEGA: Final = 1_000_000


class Progress:
    """Progress: now and then on a terminal, and at the end the speed."""

    EVERY_S: Final = 0.25

    def __init__(self, what: str, total_bytes: int = 0) -> None:
        self._what, self._total, self._done = what, total_bytes, 0
        self._began = self._printed = time.monotonic()
        self._live = sys.stdout.isatty()

    def add(self, count: int) -> None:
        """Count ``count`` more bytes."""
        self._done += count
        if self._live and time.monotonic() - self._printed > self.EVERY_S:
            self._printed = time.monotonic()
            share = f"{100 * self._done // self._total} %, " if self._total else ""
            line = escaped(f"flash: {self._what}: {share}{self._figures()} ")
            print(f"\r{line}", end="", flush=True)

    def _figures(self) -> str:
        taken_s = max(time.monotonic() - self._began, 1e-3)
        return f"{self._done / MEGA:,.0f} MB at {self._done / MEGA / taken_s:,.1f} MB/s"

    def __enter__(self) -> Progress:
        """Begin."""
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Print the speed where the block has ended without an error."""
        if kind is None:
            start = "\r" if self._live else ""
            line = escaped(f"flash: {self._what}: {self._figures()}")
            print(f"{start}{line}", flush=True)
        elif self._live:
            print()
