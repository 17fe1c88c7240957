"""Hands frames to a thread that encodes and writes them; waits where that cannot keep up.

A recording lacks no frame that the model saw: where encoding or the disk is slow, the camera's
newer frames replace older ones before the model sees them, as they do anyway.

[1] Pixels cross in buffers, a fixed number of them: the caller fills a free one, the thread gives
    it back. No free one: the caller waits.
[2] ``ended`` and ``fault`` are written by the thread, once each, and read by the caller.
"""

from __future__ import annotations

import queue
import threading
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.camera.recording import pixels, records
from edge.camera.recording.writer import Refusal, Writer
from edge.frames import PixelFormat

BUFFERS: Final = 8


class _Job(NamedTuple):
    record: records.Record
    at_ns: int
    buffer: NDArray[np.uint8] | None = None
    format: PixelFormat = "bgr"


class Recorder:
    """Appends records to ``writer`` on a thread of its own; close it."""

    def __init__(self, writer: Writer, lossless: bool) -> None:
        self._writer, self._lossless = writer, lossless
        self.ended: Refusal | None = None  # [2] why nothing more is written
        self.fault: Exception | None = None  # [2]
        self.frames = 0
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._free: queue.SimpleQueue[NDArray[np.uint8]] = queue.SimpleQueue()  # [1]
        for _ in range(BUFFERS):
            self._free.put(np.empty(0, np.uint8))
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether nothing more is written."""
        return self.ended is not None or self.fault is not None

    def add(self, record: records.Record, at_ns: int) -> None:
        """Append a record without a picture."""
        self._jobs.put(_Job(record, at_ns))

    def frame(self, seen: records.Seen, part: pixels.Part) -> None:
        """Append a frame; its pixels are copied."""
        buffer = self._free.get()
        if buffer.shape != part.pixels.shape:
            buffer = np.empty(part.pixels.shape, np.uint8)
        np.copyto(buffer, part.pixels)
        self._jobs.put(_Job(seen, seen.captured_ns, buffer, part.format))

    def finish(self) -> None:
        """Wait until everything is written, or nothing more can be."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if not self.over:
                self._write(job)
            if job.buffer is not None:
                self._free.put(job.buffer)

    def _write(self, job: _Job) -> None:
        try:
            picture = None
            if job.buffer is not None:
                picture = pixels.encode(job.buffer, job.format, self._lossless)
            self.ended = self._writer.add(job.record, job.at_ns, picture)
            self.frames += picture is not None and self.ended is None
        except Exception as exc:  # the disk, or OpenCV; the caller reports it
            self.fault = exc
