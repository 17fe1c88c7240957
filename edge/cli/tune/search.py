"""The search: one setting after the other, each candidate several times, in turn.

Rule 1: what differs by no more than the noise of the repeats stays as it is configured.
Rule 2: every run's time is planned from what is left; what does not fit is said, not skipped.
Rule 3: what is chosen must be better in one long run too, or all stays as it is configured.
Rule 4: a candidate that fails once is a row with a fault, and is not tried again.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from edge.cli.tune import options
from edge.cli.tune.records import (
    Candidate,
    Facts,
    Fault,
    Figures,
    Measurement,
    Part,
    Reply,
    Request,
    Scene,
    Target,
)
from edge.cli.tune.trial import START_LIMIT_S
from edge.config import Config
from edge.errors import CameraError, ConfigError, EdgeError, ModelError

REPEATS: Final = 3
LEAST_S, LEAST_FRAMES, MOST_S = 1.0, 10, 10.0
"""Of one run, without its start."""
CHOSEN_SHARE: Final = 0.2
"""Of the time, for what was chosen: a run long enough to judge the target by."""
NOISE_LEAST, NOISE_UNKNOWN = 0.03, 0.25
"""Relative: at least so much is noise; so much where nothing was repeated."""
DROPPED_MOST: Final = 0.05
"""Share of frames that may come while another one is at work."""
FIGURES: Final[dict[str, Callable[[Figures], float | None]]] = {
    "p99_ms": lambda run: run.p99_ms,
    "cpu_share": lambda run: run.cpu_share,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is searched for, and where.

    scene, files  of a request: where frames come from
    sizes         whether the camera's size is for us to choose
    cores         numbers of those that this process may use
    """

    config: Config
    target: Target
    fps: float
    minutes: float
    scene: Scene
    files: bool
    sizes: bool
    cores: tuple[int, ...]


class Search:
    """One search. run: measures in a child; celsius: the temperature now; log: a line of text."""

    def __init__(
        self,
        plan: Plan,
        run: Callable[[Request], Reply],
        celsius: Callable[[], float | None],
        log: Callable[[str], None],
    ) -> None:
        self._plan, self._run, self._celsius, self._log = plan, run, celsius, log
        config = plan.config
        self.base = self.best = Candidate(
            threads=config.model.threads,
            cores=(),
            width=config.camera.width,
            height=config.camera.height,
            motion=config.adaptive.motion,
            second=config.model.second,
            scene=plan.scene,
        )
        self.measurements: list[Measurement] = []
        self.notes: list[str] = []
        self.facts: Facts | None = None
        self.second = ""
        self._until = time.monotonic() + 60 * plan.minutes
        self._least_s = max(LEAST_S, LEAST_FRAMES / plan.fps)
        self._start_s = 0.0  # of a child, besides what it measures

    def run(self) -> None:
        """Measure and choose. Raises EdgeError where the config itself cannot be measured."""
        facts = self._first()
        self.second = options.second(self._plan.config, facts)
        cores = self._plan.cores
        camera = self._plan.config.camera
        useful = facts.useful if self._plan.sizes else (camera.width, camera.height)
        parts: list[tuple[Part, Callable[[], list[Candidate]]]] = [
            ("threads", lambda: [self.best, *options.threads(self.best, cores)]),
            ("cores", lambda: [self.best, *options.affinities(self.best, cores)]),
            ("size", lambda: [self.best, *options.sizes(self.best, camera, useful)]),
            ("motion", lambda: options.motions(self.best)),
            ("second", lambda: options.seconds(self.best, self.second)),
        ]
        missed = []
        for place, (part, candidates) in enumerate(parts):
            if len(candidates()) < 2:
                continue
            later = sum(len(more()) for _, more in parts[place + 1 :] if len(more()) > 1)
            rows = self._measure(part, candidates(), later)
            if any(not row.runs and not row.faults for row in rows):
                missed.append(part)
            if part in ("threads", "cores", "size"):
                self._choose(rows)
        if missed:
            self.notes.append(f"no time for {', '.join(missed)}: give more --minutes")
        self._last()

    def noise(self, figure: str) -> float:
        """Return the relative noise of a figure: the spread of repeats, the median of it."""
        spreads = []
        for row in self.measurements:
            values = [value for run in row.runs if (value := FIGURES[figure](run))]
            if len(values) > 1:
                spreads.append((max(values) - min(values)) / statistics.median(values))
        return max(NOISE_LEAST, statistics.median(spreads)) if spreads else NOISE_UNKNOWN

    def excess(self, row: Measurement) -> tuple[float, str]:
        """Return the largest share of a limit that a candidate takes, and the figure's name."""
        target = self._plan.target
        shares = [((row.median(FIGURES["p99_ms"]) or 0.0) / target.latency_ms, "p99_ms")]
        if target.cpu_share:
            shares.append(
                ((row.median(FIGURES["cpu_share"]) or 0.0) / target.cpu_share, "cpu_share")
            )
        dropped = row.median(lambda run: run.dropped_share) or 0.0
        if dropped > DROPPED_MOST:
            shares.append((1 + dropped, "p99_ms"))
        return max(shares)

    def _first(self) -> Facts:
        """Measure the config as it is; it tells about the model, and how long a child takes."""
        row = Measurement("as configured", self.base, self.base.text("as configured"))
        self.measurements.append(row)
        reply = self._one(row, self._least_s, START_LIMIT_S)
        if reply.facts is None:
            raise _error(reply.fault)
        self.facts = reply.facts
        return reply.facts

    def _measure(
        self, part: Part, candidates: Sequence[Candidate], later: int
    ) -> list[Measurement]:
        rows = [Measurement(part, one, one.text(part)) for one in candidates]
        self.measurements += rows
        until = self._until - 60 * self._plan.minutes * CHOSEN_SHARE - self._start_s
        slots = len(rows) + later
        each_s = (until - time.monotonic()) / slots
        repeats = max(1, min(REPEATS, int(each_s / (self._start_s + self._least_s))))
        for repeat in range(repeats):
            turn = [row for row in rows if not row.faults][:: -1 if repeat % 2 else 1]
            for place, row in enumerate(turn):
                runs = repeats * slots - repeat * len(rows) - place
                left_s = until - time.monotonic()
                seconds = max(self._least_s, min(MOST_S, left_s / runs - self._start_s))
                if left_s < self._start_s + seconds:
                    return rows
                self._one(row, seconds)
        return rows

    def _choose(self, rows: list[Measurement]) -> None:
        chosen = rows[0]
        for row in rows[1:]:
            if chosen.usable and row.usable and self._better(row, chosen):
                chosen = row
        self.best = chosen.candidate

    def _better(self, row: Measurement, other: Measurement) -> bool:
        mine, (theirs, limit) = self.excess(row)[0], self.excess(other)
        if theirs > 1:  # nearer to the target
            return mine < theirs * (1 - self.noise(limit))
        cpu, other_cpu = (one.median(FIGURES["cpu_share"]) or 0.0 for one in (row, other))
        return mine <= 1 and cpu < other_cpu * (1 - self.noise("cpu_share"))

    def _last(self) -> None:
        """Measure what was chosen in a long run, after one as configured; both must agree."""
        last = self._long(self.best)
        if self.best == self.base:
            self._time(last, 1.0)
            return
        first = self._long(self.base)
        self._time(first, 0.5)
        self._time(last, 1.0)
        if first.usable and not (last.usable and self._better(last, first)):
            self.notes.append(f"a long run does not confirm {last.text}: it stays as configured")
            self.best = self.base

    def _long(self, candidate: Candidate) -> Measurement:
        return Measurement("chosen", candidate, candidate.text("chosen"))

    def _time(self, row: Measurement, share: float) -> None:
        """Measure ``row`` for a share of what is left; the last to the end, where heat counts."""
        self.measurements.append(row)
        left_s = self._until - time.monotonic()
        if share < 1 or self._plan.target.celsius is None:
            left_s = min(left_s, 60 * self._plan.minutes * CHOSEN_SHARE)
        self._one(row, max(self._least_s, share * left_s - self._start_s))

    def _one(self, row: Measurement, seconds: float, start_s: float = 0.0) -> Reply:
        """Run one child; keep its figures or its fault in ``row``."""
        self._log(f"{row.part}: {row.text}, {seconds:.1f} s")
        request = Request(
            config=options.absolute(row.candidate.over(self._plan.config)),
            scene=row.candidate.scene,
            cores=row.candidate.cores,
            fps=self._plan.fps,
            files=self._plan.files,
            seconds=seconds,
            limit_s=2 * seconds + max(start_s, 15 + 3 * self._start_s),
            parent=os.getpid(),
        )
        begin = time.monotonic()
        reply = self._run(request)
        if reply.figures is not None:
            run = msgspec.structs.replace(reply.figures, celsius=self._celsius())
            row.runs.append(run)
            spent_s = time.monotonic() - begin - run.seconds
            self._start_s = max(0.7 * self._start_s, spent_s)
        else:
            row.faults.append(str(_error(reply.fault)))
        return reply


def _error(fault: Fault | None) -> EdgeError:
    if fault is None:
        return EdgeError("no reply")
    kinds = {kind.__name__: kind for kind in (ConfigError, ModelError, CameraError)}
    return kinds.get(fault.kind, EdgeError)(
        fault.what, where=fault.where, expected=fault.expected, got=fault.got, hint=fault.hint
    )
