"""A recording as a camera: in real time by its own times, or as fast as it is read.

No thread. As of a film, a late reader skips the frames whose time has passed, which are never
decoded. How the pictures are turned and cut is the recording's, not the config's. Damage ends it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from edge.camera import controls
from edge.camera.pace import Steps
from edge.camera.recording import records
from edge.camera.recording.reader import Item, Reader, Recorded
from edge.camera.spec import CameraSpec
from edge.errors import CameraError
from edge.frames import CameraMode, ControlValue, EndOfSource, Frame, Seconds


class RecordedCamera:
    """The frames of a recording. Raises CameraError if it cannot be read, or holds none."""

    def __init__(self, path: Path, spec: CameraSpec) -> None:
        self._spec, self._where = spec, str(path)
        self._reader = Reader(path, spec.config.max_pixels)
        self._items: Iterator[Item] = iter(self._reader)
        self.corrupt_total = 0
        self._sequence = spec.first_sequence - 1  # of the frame that is due next
        self._steps = Steps(spec.config.fps)
        self._in_pass = 0
        self._due_ns = time.monotonic_ns()
        self._due: Recorded | None = None
        self._step_ns = 0  # from the frame before to the next one
        try:
            first = self._advance()
            self._source = first.source
            self.mode = self._mode(first.source)
            self._steps = Steps(self.mode.fps)
            self._steps.to(first.seen.captured_ns / 1e6)
            self._due_ns = time.monotonic_ns()
        except BaseException:
            self.close()
            raise

    def read(self, timeout_s: Seconds) -> Frame | None:
        """Return the frame now due."""
        until_ns = time.monotonic_ns() + round(timeout_s * 1e9)
        recorded = self._due or self._advance()
        if self._spec.config.pace == "fast":
            self._due_ns = time.monotonic_ns()
        else:
            recorded = self._wait(recorded, until_ns)
            if self._due_ns > until_ns:
                return None
        self._due = None
        if recorded.source is not self._source:
            self._source, self.mode = recorded.source, self._mode(recorded.source)
        frame = self._reader.frame(recorded)
        return replace(frame, sequence=self._sequence, captured_ns=self._due_ns)

    def still(self) -> Frame | None:
        """Return None: every frame is whole."""
        return None

    def control(self, values: Mapping[str, ControlValue]) -> None:
        """Raise CameraError: a recorded source has no controls."""
        controls.check(values, (), self._where)

    def close(self) -> None:
        """Release the file."""
        self._reader.close()

    def _mode(self, source: records.Source) -> CameraMode:
        fps = source.mode.fps
        return CameraMode(
            *("recording", self._where, source.width, source.height),
            *(fps if 0 < fps <= 1000 else self._spec.config.fps, source.format),
            device=source.mode.device,
        )

    def _wait(self, recorded: Recorded, until_ns: int) -> Recorded:
        """Return the frame that is due next, at its time; no later than ``until_ns``."""
        usual_ns = round(self._steps.usual_s * 1e9)
        while (late_ns := time.monotonic_ns() - self._due_ns) >= max(self._step_ns, usual_ns):
            if self._due_ns + late_ns > until_ns:  # it cannot catch up: go on from here
                self._sequence += late_ns // usual_ns
                self._due_ns = until_ns
                return recorded
            recorded = self._advance()
        time.sleep(max(0, min(self._due_ns, until_ns) - time.monotonic_ns()) / 1e9)
        return recorded

    def _advance(self) -> Recorded:
        """Take the next frame, from the end to the beginning if the source loops."""
        recorded = self._following()
        if recorded is None and self._in_pass:
            if not self._spec.config.loop:
                raise EndOfSource
            self._items, self._in_pass = iter(self._reader), 0
            self._steps.begin_again()
            recorded = self._following()
        if recorded is None:
            raise CameraError("holds no frame", reason="corrupt", where=self._where)
        self._due = recorded
        self._in_pass += 1
        self._sequence += 1
        self._step_ns = round(self._steps.to(recorded.seen.captured_ns / 1e6) * 1e9)
        self._due_ns += self._step_ns
        return recorded

    def _following(self) -> Recorded | None:
        return next((item for item in self._items if isinstance(item, Recorded)), None)
