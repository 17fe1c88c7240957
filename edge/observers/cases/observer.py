"""The observer that keeps frames: hands each to a worker, counts, answers those who asked.

Rule 1: the loop never waits for a disk. It decides and copies the frame as the camera gave it, into
        memory that is allocated once: cheaper than making it smaller. One picture is made and
        written at a time; a frame that comes meanwhile is counted as missed.
Rule 2: a disk that fails is one warning; it is tried again after ``AGAIN_S``, and one line says
        when it works.

[1] A job's thread has the keeper and the copy, from the start of its ``Call`` until the loop has
    taken its result; the loop touches neither meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.background import Call
from edge.cases.index import Totals
from edge.config import CasesConfig
from edge.contract import CasesFigures
from edge.errors import EdgeError
from edge.frames import Classified, InvalidScores
from edge.geometry import Roi
from edge.observers.cases.errand import Errand, Settle
from edge.observers.cases.keeper import Done, Keeper, Model, Wanted
from edge.observers.cases.reasons import Reasons

log = logging.getLogger(__name__)
AGAIN_S: Final = 60.0
"""Between two tries on a disk that fails."""
REQUEST_S: Final = 10.0
"""Longest wait of a request for its frame."""
HOUR_NS: Final = 3600 * 10**9


class Cases:
    """Keeps frames in ``folder``. roi: the part of the upright picture that frames show."""

    name = "cases"

    def __init__(self, config: CasesConfig, folder: Path, model: Model, roi: Roi) -> None:
        self.folder, self.config, self.errand = folder, config, Errand()
        self._reasons = Reasons(config, model.labels)
        self._keeper = Keeper(config, folder, model, roi)  # [1]
        self._pixels: NDArray[np.uint8] | None = None  # [1]
        self._job: Call[Done] | None = Call(self._keeper.start, name=self.name)
        self._kept: Counter[str] = Counter()
        self._duplicates = self._limited = self._missed = self._errors = 0
        self._totals = Totals()
        self._kept_ns: deque[int] = deque(maxlen=config.per_hour)
        self._last_ns: int | None = None
        self._again_ns = self._taken_ns = 0
        self._failing = ""
        self._waiting: tuple[Settle, int] | None = None  # for a frame
        self._answering: Settle | None = None  # for the worker

    def classified(self, seen: Classified) -> None:
        """Keep this frame, if there is a reason."""
        reason = self._reasons.of(seen, self._waiting is not None)
        if reason:
            self._take(reason, seen)

    def ask(self, reason: str, seen: Classified) -> None:
        """Keep a frame for another observer, if ``reason``, a key of [cases], is set.

        seen  as an observer gets it; its pixels and scores are copied at once
        """
        if getattr(self.config, reason, False) is True:
            self._take(reason, seen)

    def keep(self, settle: Settle) -> None:
        """Keep the next frame; ``settle`` gets its name. Raises EdgeError."""
        if not self.config.request:
            raise EdgeError("requests keep no frame", hint="set cases.request in the config")
        if self._waiting or self._answering:
            raise EdgeError("another request is waiting for its frame")
        if self._hour_is_full(time.monotonic_ns()):
            raise EdgeError(f"{self.config.per_hour} cases in an hour: see cases.per_hour")
        self._waiting = settle, time.monotonic_ns()

    def tick(self) -> None:
        """Take what the workers have done; give up on a frame that does not come."""
        self.errand.poll()
        self._poll()
        if self._waiting and time.monotonic_ns() - self._waiting[1] > REQUEST_S * 1e9:
            (settle, _), self._waiting = self._waiting, None
            settle({}, self._failing or f"no frame came in {REQUEST_S:.0f} s")

    def figures(self) -> CasesFigures:
        """Return what has been counted."""
        return CasesFigures(
            kept_total=dict(self._kept),
            duplicates_total=self._duplicates,
            limited_total=self._limited,
            missed_total=self._missed,
            dropped_total=self._totals.dropped,
            errors_total=self._errors,
            unsorted=self._totals.unsorted,
            sorted=self._totals.sorted,
            bytes=self._totals.bytes,
        )

    def close(self) -> None:
        """Leave the workers behind: a case is whole or not there. Answer those who asked."""
        for settle in (self._answering, self._waiting[0] if self._waiting else None):
            if settle:
                settle({}, "cases was switched off meanwhile")
        self._answering = self._waiting = None
        self.errand.close()

    def _take(self, reason: str, seen: Classified) -> None:
        """Hand a frame to the worker, unless it is busy or a limit is reached."""
        self._poll()
        if seen.frame.captured_ns == self._taken_ns:
            return  # another observer has asked for it
        now_ns = seen.done_ns
        patient = reason in ("request", "every")  # the next frame will do as well
        if self._job is not None or now_ns < self._again_ns:
            self._missed += not patient
            return
        if self._is_early(reason, now_ns) or self._hour_is_full(now_ns):
            self._limited += not patient
            return
        self._taken_ns, self._last_ns = seen.frame.captured_ns, now_ns
        self._reasons.taken(reason, now_ns)
        if reason == "request" and self._waiting:
            (self._answering, _), self._waiting = self._waiting, None
        wanted = self._copy(reason, seen)
        self._job = Call(lambda: self._keeper.keep(wanted), name=self.name)

    def _copy(self, reason: str, seen: Classified) -> Wanted:
        pixels, prediction = seen.frame.pixels, seen.prediction
        if self._pixels is None or self._pixels.shape != pixels.shape:
            self._pixels = np.empty_like(pixels)
        np.copyto(self._pixels, pixels)
        frame = replace(seen.frame, pixels=self._pixels)
        if isinstance(prediction, InvalidScores):
            return Wanted(reason, frame, None, None, time.time())
        return Wanted(reason, frame, seen.scores.copy(), prediction.label, time.time())

    def _poll(self) -> None:
        """Take the result of a job that has ended."""
        if self._job is None or not self._job.wait(0):
            return
        job, self._job = self._job, None
        done, now_ns = job.result(), time.monotonic_ns()
        self._totals = done.totals
        now_s = time.time()
        for time_s in done.recent:
            if 0 <= now_s - time_s < 3600:
                self._kept_ns.append(now_ns - int((now_s - time_s) * 1e9))
        if done.fault:
            self._fails(done, now_ns)
        else:
            if self._failing:
                log.info("cases are kept again in %s", self.folder)
                self._failing = ""
            self._count(done, now_ns)
        if done.reason == "request" and self._answering:
            settle, self._answering = self._answering, None
            settle({"name": done.name} if done.name else {}, self._failing)

    def _fails(self, done: Done, now_ns: int) -> None:
        self._errors += bool(done.reason)
        self._again_ns = now_ns + int(AGAIN_S * 1e9)
        if not self._failing:
            text = "cases cannot be kept: %s; tried again every %d s"
            log.warning(text, done.fault, AGAIN_S)
        self._failing = f"cases cannot be kept: {done.fault}"

    def _count(self, done: Done, now_ns: int) -> None:
        if done.name:
            self._kept[done.reason] += 1
            self._kept_ns.append(now_ns)
        elif done.reason:
            self._duplicates += 1

    def _is_early(self, reason: str, now_ns: int) -> bool:
        if reason == "request" or self._last_ns is None:
            return False
        return now_ns - self._last_ns < self.config.interval_s * 1e9

    def _hour_is_full(self, now_ns: int) -> bool:
        kept = self._kept_ns
        return len(kept) == kept.maxlen and now_ns - kept[0] < HOUR_NS
