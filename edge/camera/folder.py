"""Names of the pictures in a folder, in order, while others add, change and remove them.

The folder is read again when it has changed: at the end of a pass, or sooner where that costs
little. Opens no picture. Runs on the caller's thread; 100,000 names cost 8 MB, and reading them
0.1 s.
"""

from __future__ import annotations

import bisect
import logging
import os
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from edge.frames import Seconds

log = logging.getLogger(__name__)
SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
MOST: Final = 200_000
"""Pictures; the others in the folder are ignored."""
COARSE_S: Final = 3.0
"""A folder that changed so recently may change again with the same timestamp."""
SHARE: Final = 0.02
"""Of the time: at most so much goes into reading the folder within a pass."""


class Folder:
    """The pictures of ``path``. Raises OSError where it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []
        self._pass: list[str] = []  # names in this pass
        self._next = 0  # place in it
        self._changed_ns: int | None = None
        self._read_at_s: Seconds = 0.0
        self._cost_s: Seconds = 0.0
        self._overfull = False
        self._read()

    def next(self) -> str | None:
        """Return the name of the next picture; None at the end of a pass, then the first again."""
        if self._next >= len(self._pass):
            self._next = 0
            return None
        self._next += 1
        return self._pass[self._next - 1]

    def refresh(self) -> bool:
        """Read the names again if that is due; return whether they were read. Raises OSError."""
        waited_s = time.monotonic() - self._read_at_s
        if (self._next and waited_s * SHARE < self._cost_s) or not self._differs():
            return False
        self._read()
        return True

    def begin(self, without: Collection[str]) -> None:
        """Begin a pass through all names but some."""
        self._next = 0
        if len(self._pass) != len(self.names) - len(without):
            self._pass = [name for name in self.names if name not in without]

    def only(self, names: Iterable[str]) -> None:
        """Continue with these names alone, from the first."""
        self.names = self._pass = sorted(names)
        self._next = 0

    def _differs(self) -> bool:
        return self._changed_ns is None or os.stat(self.path).st_mtime_ns != self._changed_ns

    def _read(self) -> None:
        """Read the names; continue after the last one used."""
        last = self._pass[self._next - 1] if self._next else ""
        begin_s = time.monotonic()
        changed_ns = os.stat(self.path).st_mtime_ns
        settled = abs(time.time() - changed_ns / 1e9) > COARSE_S
        self._changed_ns = changed_ns if settled else None
        self.names = []
        with os.scandir(self.path) as entries:
            for entry in entries:
                if os.path.splitext(entry.name)[1].lower() not in SUFFIXES:
                    continue
                if len(self.names) == MOST:
                    self._warn()
                    break
                self.names.append(entry.name)
        self.names.sort()
        self._pass = self.names
        self._next = bisect.bisect_right(self.names, last) if last else 0
        self._read_at_s = time.monotonic()
        self._cost_s = self._read_at_s - begin_s

    def _warn(self) -> None:
        if not self._overfull:
            log.warning("%s: more than %d pictures, the others are ignored", self.path, MOST)
        self._overfull = True
