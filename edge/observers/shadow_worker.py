"""The thread on which a shadow classifies, and the share of a core that it keeps to.

Rule 1: one frame at a time. A frame that comes while the thread is busy is not taken.
Rule 2: whatever the candidate raises comes back as an outcome; a call that hangs stays behind on
        its thread, for which the process does not wait.

[1] The loop copies the frame before it puts the job into a queue; the thread reads it after it has
    got it. While a job is out, the loop touches neither the copy nor the candidate. Copying takes
    less of the loop than the candidate's preprocessing would: 33 us against 109 at 640x480 (BGR),
    as much at 1920x1080.
[2] The thread writes the outcome and then sets ``_done``; the loop reads the outcome after that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from queue import SimpleQueue
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.config import SmoothingConfig
from edge.frames import Frame, FrameTimes, InvalidScores, LabelChange, Prediction
from edge.text import escaped

RAISED_MAX: Final = 300
"""Characters of what a candidate raises."""


class Candidate(Protocol):
    """A model with a window of its own. One thread at a time calls it."""

    @property
    def scores(self) -> NDArray[np.float32]:
        """Those of the frame before, (C,)."""

    def process(
        self, frame: Frame, /
    ) -> tuple[Prediction | InvalidScores, LabelChange | None, FrameTimes]:
        """Return what the window says after ``frame``."""


Configure = Callable[[SmoothingConfig], None]
"""Changes the settings of a candidate's window. Raises EdgeError where that is too large."""


class Outcome(NamedTuple):
    """What became of one frame.

    best        index of the best label
    prediction  of the candidate's window; None where it has raised
    raised      what it has raised, on one line
    cpu_ns      of the thread
    lasted_ns   by the clock
    """

    best: int
    prediction: Prediction | InvalidScores | None
    raised: str
    cpu_ns: int
    lasted_ns: int


class _Job(NamedTuple):
    frame: Frame
    smoothing: SmoothingConfig


class Share:
    """Decides when the next frame may be taken, so that a share of a core is not exceeded. Pure."""

    def __init__(self) -> None:
        self._next_ns = 0
        self.spent_ns = 0

    def due(self, now_ns: int) -> bool:
        """Return whether a frame may be taken now."""
        return now_ns >= self._next_ns

    def spend(self, cost_ns: int, begin_ns: int, share: float) -> None:
        """Count what a frame, taken at ``begin_ns``, has cost. Unused time is not saved up."""
        self.spent_ns += cost_ns
        self._next_ns = begin_ns + round(cost_ns / share)


class Worker:
    """Runs one candidate on a thread of its own; but for that, the loop's thread calls it.

    clock, cpu  monotonic and of the calling thread, in ns
    """

    def __init__(
        self,
        candidate: Candidate,
        configure: Configure,
        clock: Callable[[], int] = time.monotonic_ns,
        cpu: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        self._candidate, self._configure = candidate, configure
        self._clock, self._cpu = clock, cpu
        self._smoothing: SmoothingConfig | None = None
        self._pixels: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._done = threading.Event()
        self._outcome: Outcome | None = None
        self.began_ns: int | None = None
        """When the frame was taken that it is busy with; None while it is idle."""
        threading.Thread(target=self._run, name="shadow", daemon=True).start()

    def take(self, frame: Frame, smoothing: SmoothingConfig) -> Frame:
        """Classify ``frame``, while idle; return its copy, which is there until the next one."""
        begin_ns = self._clock()
        if self._pixels.shape != frame.pixels.shape:
            self._pixels = np.empty(frame.pixels.shape, np.uint8)
        np.copyto(self._pixels, frame.pixels)
        copied = replace(frame, pixels=self._pixels)
        self.began_ns = begin_ns
        self._jobs.put(_Job(copied, smoothing))  # [1]
        return copied

    def collect(self) -> Outcome | None:
        """Return what became of the frame, once; None while there is nothing new."""
        if self.began_ns is None or not self._done.is_set():
            return None
        self._done.clear()
        self.began_ns = None
        return self._outcome  # [2]

    def wait(self, timeout_s: float) -> bool:
        """Return whether there is an outcome, after ``timeout_s`` at the latest. For tests."""
        return self._done.wait(timeout_s)

    def stop(self) -> None:
        """End the thread after the frame that it is busy with; does not wait."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:  # [1]
            self._outcome = self._classify(job)
            del job
            self._done.set()  # [2]

    def _classify(self, job: _Job) -> Outcome:
        begin_ns, begin_cpu_ns = self._clock(), self._cpu()
        prediction, raised = None, ""
        try:
            if job.smoothing != self._smoothing:
                self._configure(job.smoothing)
                self._smoothing = job.smoothing
            prediction = self._candidate.process(job.frame)[0]
        except BaseException as exc:  # reported by the loop
            raised = escaped(f"{type(exc).__name__}: {exc}", RAISED_MAX)
        best = int(self._candidate.scores.argmax())
        spent_ns = self._cpu() - begin_cpu_ns
        return Outcome(best, prediction, raised, spent_ns, self._clock() - begin_ns)
