"""A folder of images as a camera: each picture in turn, for one period.

Pictures may come, change and go meanwhile. One that cannot be read may be half written: it is tried
again until it has stayed the same for ``SETTLED_S``. Only then it is counted as corrupt, and again
whenever it has changed. Runs on the caller's thread.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.camera import controls
from edge.camera.folder import SUFFIXES, Folder
from edge.camera.pace import Pace
from edge.camera.spec import CameraSpec
from edge.errors import CameraError
from edge.frames import CameraMode, ControlValue, EndOfSource, Frame, Seconds
from edge.pictures import picture
from edge.pictures.read import read_pixels

log = logging.getLogger(__name__)
SETTLED_S: Final = 5.0
"""A file that has not changed for so long is whole."""
LOOK_AGAIN_S: Final = 10.0
"""Between two tries of pictures that could not be read."""
REPORTED: Final = 5
"""Unreadable pictures that are reported one by one."""
TOTALS: Final = frozenset(10**power for power in range(1, 10))
"""After that, totals at which a line is logged."""
IDLE_S: Final = 0.05
"""Pause after a pass without a picture."""


class ImagesCamera:
    """The pictures of a folder in the order of their names.

    With ``loop``, pictures that are added later come, too, and an empty folder is waited for;
    without it, the pictures that are there at the start come once.
    Raises CameraError if the folder holds none, or none that can be read.
    """

    def __init__(self, folder: Path, spec: CameraSpec) -> None:
        self._folder = Folder(folder)
        if not self._folder.names:
            raise CameraError(
                "no pictures",
                reason="absent",
                where=str(folder),
                expected="files ending in " + ", ".join(sorted(SUFFIXES)),
                hint="with camera.required = false they are waited for",
            )
        self.mode = CameraMode("images", str(folder), 0, 0, spec.config.fps, "bgr")
        self.corrupt_total = 0
        self._spec, self._view = spec, spec.view
        self._bad: dict[str, int] = {}  # name -> mark of the file when it was counted
        self._pending: dict[str, int] = {}  # the same for those that may be half written
        self._any = False  # picture in this pass
        self._look_again, self._looked_s = True, time.monotonic()  # at the bad ones
        self._pace = Pace(spec.config.fps, spec.config.pace == "fast")
        self._due: tuple[int, int] | None = None
        self._sequence = spec.first_sequence

    def read(self, timeout_s: Seconds) -> Frame | None:
        """Return the picture now due, whole and in its own size."""
        until, late = time.monotonic() + timeout_s, self._due is not None
        self._due = self._due or self._pace.wait(timeout_s)
        if self._due is None:
            return None
        if self._spec.config.loop:
            self._refresh()
        while True:
            pixels = self._next()
            if pixels is not None:
                captured_ns = time.monotonic_ns() if late else self._due[1]
                self._due, self._any = None, True
                self._sequence += 1  # no picture is skipped, however late
                return Frame(self._sequence - 1, captured_ns, pixels, "bgr", self._view)
            if time.monotonic() >= until:  # however many there are that cannot be read
                return None

    def still(self) -> Frame | None:
        """Return None: every frame is whole."""
        return None

    def control(self, values: Mapping[str, ControlValue]) -> None:
        """Raise CameraError: a recorded source has no controls."""
        controls.check(values, (), self.mode.source)

    def close(self) -> None:
        """Nothing to release."""

    def _next(self) -> NDArray[np.uint8] | None:
        """Try one picture; None if it cannot be read now, and at the end of a pass."""
        name = self._folder.next()
        if name is None:
            self._end_pass()
        elif self._look_again or name not in self._bad:
            return self._try(name)
        return None

    def _refresh(self) -> None:
        try:
            if self._folder.refresh() and (self._bad or self._pending):
                names = set(self._folder.names)
                self._bad = {name: mark for name, mark in self._bad.items() if name in names}
                self._pending = {n: mark for n, mark in self._pending.items() if n in names}
        except OSError as exc:
            what = f"the folder cannot be read any more: {exc.strerror}"
            raise CameraError(what, reason="gone", where=self.mode.source) from exc

    def _end_pass(self) -> None:
        """Begin again, or end; pause if there was no picture."""
        any_picture, self._any = self._any, False
        now = time.monotonic()
        self._look_again = now - self._looked_s > LOOK_AGAIN_S
        self._looked_s = now if self._look_again else self._looked_s
        if not self._pending and self._bad and self._sequence == self._spec.first_sequence:
            raise CameraError("no picture can be read", reason="corrupt", where=self.mode.source)
        if not self._spec.config.loop:
            if not self._pending:
                raise EndOfSource
            self._folder.only(self._pending)
        elif self._bad:
            self._folder.begin(() if self._look_again else self._bad)
        if not any_picture:
            time.sleep(IDLE_S)

    def _try(self, name: str) -> NDArray[np.uint8] | None:
        """Return the pixels of a picture; None if it has gone or cannot be read."""
        path = self._folder.path / name
        try:
            status = os.stat(path, follow_symlinks=os.path.exists(path))
        except OSError:  # it has gone
            self._forget(name)
            return None
        mark = hash((status.st_ino, status.st_mtime_ns, status.st_size))
        settled = self._spec.config.pace == "fast" or abs(time.time() - status.st_mtime) > SETTLED_S
        if self._bad.get(name) == mark or (self._pending.get(name) == mark and not settled):
            return None
        try:
            pixels = read_pixels(path, self._spec.config.max_pixels, self._spec.config.max_bytes)
        except picture.Unreadable as exc:
            self._pending[name] = mark
            if not os.path.lexists(path):  # it has gone just now
                self._forget(name)
            elif settled:
                self._bad[name] = self._pending.pop(name)
                self._count(path, str(exc))
            return None
        self._forget(name)
        return pixels

    def _forget(self, name: str) -> None:
        self._bad.pop(name, None)
        self._pending.pop(name, None)

    def _count(self, path: Path, reason: str) -> None:
        self.corrupt_total += 1
        if self.corrupt_total <= REPORTED:
            more = "; the next ones are counted" if self.corrupt_total == REPORTED else ""
            log.warning("%s: %s: skipped%s", path, reason, more)
        elif self.corrupt_total in TOTALS:
            text = "%s: %d pictures cannot be read, the last of them %s: %s"
            log.warning(text, self.mode.source, self.corrupt_total, path.name, reason)
