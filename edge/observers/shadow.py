"""The observer that runs a candidate model beside the one at work, on some of the frames.

Rule 1: the loop copies a frame where one is due, and counts the outcome of the one before; the rest
        is done on a thread of its own, for which the loop never waits.
Rule 2: whatever is wrong with the candidate ends the shadow alone, with one event.
Rule 3: of `every` and `cpu_share` the stricter decides. The share counts the thread's time, once
        for each thread of its interpreter, and the loop's time to copy.

Knows no model: what loads the candidate is given to it. Runs on the loop's thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from edge.contract import ShadowFigures
from edge.errors import EdgeError
from edge.frames import Classified, InvalidScores, Prediction
from edge.observers.publishing import EventLog
from edge.observers.shadow_parts import Keep, Loaded, Loading, Settings
from edge.observers.shadow_record import PAIRS, Record, Times
from edge.observers.shadow_worker import Candidate, Configure, Worker

HANGS_NS: Final = 30 * 10**9
"""A frame that takes longer is not waited for."""
INVALID_MAX: Final = 100
"""Frames in a row without scores, after which the candidate is no good."""


class _Asked(NamedTuple):
    """A frame that the candidate has got, and what the model at work says of it.

    seen  its pixels and scores are copies
    """

    seen: Classified
    best: str
    prediction: Prediction
    begin_ns: int
    copied_ns: int


class Shadow:
    """One candidate beside one model. Plugs that replace each other hold it together.

    model     the candidate, as the config or a request names it
    labels    (C,) of the model at work, in score order
    loading   None: the candidate is the model at work, and there is nothing to compare
    settings  returns what is in force
    ended     called once, when nobody holds it any more; returns why, empty where the daemon ends
    keep      gets frames on which the two differ; None: nobody keeps any
    """

    name = "shadow"

    def __init__(
        self,
        model: str,
        labels: tuple[str, ...],
        loading: Loading | None,
        settings: Callable[[], Settings],
        events: EventLog,
        times: Times,
        ended: Callable[[], str],
        keep: Keep | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        work: Callable[[Candidate, Configure], Worker] = Worker,
    ) -> None:
        self._labels, self._loading = labels, loading
        self._settings, self._events = settings, events
        self._ended, self._keep = ended, keep
        self._clock, self._work = clock, work
        self._record = Record(model, times)
        if loading is None:
            self._record.state, self._record.reason = "at_work", "it is the model at work"
        self._theirs: tuple[str, ...] = ()
        self._worker: Worker | None = None
        self._asked: _Asked | None = None
        self._waited = self._invalid_row = self._differ_row = self._holders = 0

    @property
    def state(self) -> str:
        """As in telemetry."""
        return self._record.state

    def hold(self) -> Shadow:
        """Count one more who will close it."""
        self._holders += 1
        return self

    def classified(self, seen: Classified) -> None:
        """Give this frame to the candidate if one is due."""
        if self._worker is None:
            return
        self._collect(self._worker)
        worker, settings = self._worker, self._settings()
        self._waited += 1
        if worker is None or worker.began_ns is not None or self._waited < settings.shadow.every:
            return
        begin_ns = self._clock()
        prediction = seen.prediction
        if isinstance(prediction, InvalidScores) or not self._record.share.due(begin_ns):
            return
        self._waited = 0
        frame = worker.take(seen.frame, settings.smoothing)
        best = self._labels[int(seen.scores.argmax())]
        copied = seen._replace(frame=frame, scores=seen.scores.copy())
        self._asked = _Asked(copied, best, prediction, begin_ns, self._clock() - begin_ns)

    def tick(self) -> None:
        """Take the candidate once it is loaded, and outcomes while no frame comes."""
        if self._worker is not None:
            self._collect(self._worker)
            self._check_time()
        elif self._loading is not None:
            try:
                loaded = self._loading.poll()
            except EdgeError as exc:
                self._fail(str(exc))
            else:
                if loaded is not None:
                    self._begin(loaded)

    def figures(self) -> ShadowFigures:
        """Return its part of telemetry."""
        return self.report(PAIRS)

    def report(self, pairs: int) -> ShadowFigures:
        """Return the same with so many pairs of labels."""
        return self._record.figures(self._clock(), pairs)

    def close(self) -> None:
        """End it, once nobody holds it any more."""
        self._holders -= 1
        if self._holders > 0:
            return
        why, record = self._ended(), self._record
        self._release()
        if record.state != "working":
            return
        line = f"shadow {record.model} ended: {why or 'the daemon ends'}; {record.line()}"
        if why:
            evidence = record.evidence(self._clock())
            self._events.add("shadow_ended", line, reason=why, **evidence)
        else:
            self._events.log("shadow_ended", line)

    def _begin(self, loaded: Loaded) -> None:
        record, labels = self._record, loaded.labels
        record.model, record.memory_bytes = loaded.name, loaded.memory_bytes
        record.state, record.began_ns = "working", self._clock()
        self._loading, self._theirs = None, labels
        self._worker = self._work(loaded.candidate, loaded.configure)
        shared = len(set(labels) & set(self._labels))
        self._events.add(
            "shadow_began",
            f"shadow {record.model} began; {shared} of its {len(labels)} labels are in use",
            model=record.model,
            labels=len(labels),
            labels_shared=shared,
            memory_bytes=loaded.memory_bytes,
        )

    def _collect(self, worker: Worker) -> None:
        """Count the outcome of the frame before, if there is one."""
        outcome = worker.collect()
        if outcome is None or self._asked is None:
            return
        record, asked, shadow = self._record, self._asked, self._settings().shadow
        cost_ns = outcome.cpu_ns * shadow.threads + asked.copied_ns
        record.share.spend(cost_ns, asked.begin_ns, shadow.cpu_share)
        record.times.add(outcome.lasted_ns)
        if outcome.prediction is None:
            self._fail(outcome.raised)
        elif isinstance(outcome.prediction, InvalidScores):
            record.invalid_total += 1
            self._invalid_row += 1
            if self._invalid_row >= INVALID_MAX:
                why = outcome.prediction.why
                self._fail(f"{INVALID_MAX} frames in a row without scores: {why}")
        else:
            self._invalid_row = 0
            self._count(asked, self._theirs[outcome.best], outcome.prediction)

    def _count(self, asked: _Asked, label: str, prediction: Prediction) -> None:
        full = not (asked.prediction.partial or prediction.partial)
        smoothed = (asked.prediction.label, prediction.label) if full else None
        if self._record.tally.add(asked.best, label, smoothed, self._clock() / 1e9):
            self._differ_row = 0
            return
        self._differ_row += 1
        due = self._differ_row == self._settings().shadow.keep_frames
        if self._keep is not None and due:
            self._record.kept_total += 1
            self._keep("shadow", asked.seen)

    def _check_time(self) -> None:
        began_ns = self._worker.began_ns if self._worker else None
        if began_ns is not None and self._clock() - began_ns > HANGS_NS:
            self._fail(f"no scores after {HANGS_NS / 1e9:.0f} s; restart to end its thread")

    def _fail(self, error: str) -> None:
        record, now_ns = self._record, self._clock()
        self._release()
        record.state, record.reason, record.over_ns = "failed", error, now_ns
        line = f"shadow {record.model} failed: {error}"
        self._events.add("shadow_failed", line, error=error, **record.evidence(now_ns))

    def _release(self) -> None:
        if self._loading is not None:
            self._loading.close()
        if self._worker is not None:
            self._worker.stop()
        self._loading = self._worker = self._asked = None
