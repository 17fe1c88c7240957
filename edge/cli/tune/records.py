"""Records of a tuning: what is tried, what a child is asked and answers, what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Literal

import msgspec

from edge.config import Config

Scene = Literal["source", "moving", "still"]
"""What is looked at: what the config names, or pictures made up in memory."""
Part = Literal["as configured", "threads", "cores", "size", "motion", "second", "chosen"]
"""What differs between candidates that are compared with each other."""


class Candidate(msgspec.Struct, frozen=True):
    """One setting of everything that is tried.

    threads        of the interpreter; 0: all cores that the process may use
    cores          that the process may use, by number; empty: all
    width, height  of a camera's picture
    second         model that is asked where the first is unsure; empty: none
    asked          where it is asked: where the first is unsure, or for every frame
    """

    threads: int
    cores: tuple[int, ...]
    width: int
    height: int
    motion: bool
    second: str
    scene: Scene
    asked: Literal["unsure", "always"] = "unsure"

    def over(self, config: Config) -> Config:
        """Return ``config`` with these settings, and without the limits of its governor."""
        replace = msgspec.structs.replace
        below = 1.0 if self.asked == "always" else config.model.second_below
        return replace(
            config,
            camera=replace(config.camera, width=self.width, height=self.height),
            model=replace(
                config.model, threads=self.threads, second=self.second, second_below=below
            ),
            adaptive=replace(config.adaptive, motion=self.motion, max_celsius=0.0, cpu_share=0.0),
        )

    def text(self, part: Part) -> str:
        """Return in words what is tried in ``part``."""
        threads = f"{self.threads or 'all'} thread{'s' * (self.threads != 1)}"
        cores = f"cores {' '.join(map(str, self.cores))}" if self.cores else "all cores"
        size = f"{self.width}x{self.height}"
        motion = f"motion gate {'on' if self.motion else 'off'}, {self.scene}"
        second = f"{self.second} asked: {self.asked}" if self.second else "no second model"
        whole = ", ".join((threads, cores, size))
        texts = {"threads": threads, "cores": cores, "size": size, "motion": motion}
        return {**texts, "second": second}.get(part, whole)


class Request(msgspec.Struct, frozen=True):
    """What a child is to measure.

    config   the candidate's
    fps      frames a second
    files    whether the source is read as fast as it is asked, not at its own pace
    seconds  to measure, after the warm-up
    limit_s  the child ends itself after it
    parent   number of the process that waits for it; without that one, it ends
    """

    config: Config
    scene: Scene
    cores: tuple[int, ...]
    fps: float
    files: bool
    seconds: float
    limit_s: float
    parent: int


class Figures(msgspec.Struct, frozen=True):
    """What one child has measured.

    p50_ms, p99_ms  of the pipeline, frames that were classified; None without any
    cpu_share       of all cores of the machine, of the process with all its threads
    cpu_ms          of CPU time for each frame, skipped ones included
    pss_bytes       of the process, without the made-up pictures
    frames          that came; `dropped` more came while one was at work
    skipped         by the motion gate
    others_share    of all cores that other processes used meanwhile
    celsius         at the end
    """

    p50_ms: float | None
    p99_ms: float | None
    cpu_share: float
    cpu_ms: float
    pss_bytes: int | None
    frames: int
    dropped: int
    skipped: int
    others_share: float | None
    seconds: float
    celsius: float | None = None

    @property
    def dropped_share(self) -> float:
        """Of the frames that should have come."""
        return self.dropped / max(1, self.frames + self.dropped)


class Facts(msgspec.Struct, frozen=True):
    """The model, and what it can use of a picture.

    model   name and version
    useful  width and height beyond which pixels are lost on it
    """

    model: str
    labels: tuple[str, ...]
    runtime: str
    useful: tuple[int, int]


class Fault(msgspec.Struct, frozen=True):
    """Why there are no figures: the fields of an EdgeError, and the name of its class."""

    kind: str
    what: str
    where: str = ""
    expected: str = ""
    got: str = ""
    hint: str = ""


class Reply(msgspec.Struct, frozen=True):
    """The answer of a child."""

    figures: Figures | None = None
    facts: Facts | None = None
    fault: Fault | None = None


class Measurement(msgspec.Struct):
    """All runs of a candidate in one part; those that failed as lines in ``faults``."""

    part: Part
    candidate: Candidate
    text: str
    runs: list[Figures] = msgspec.field(default_factory=list)
    faults: list[str] = msgspec.field(default_factory=list)

    @property
    def usable(self) -> bool:
        """Whether it was measured and never failed."""
        return bool(self.runs) and not self.faults

    def median(self, figure: Callable[[Figures], float | None]) -> float | None:
        """Return the median of a figure over all runs; None where no run has it."""
        values = [value for run in self.runs if (value := figure(run)) is not None]
        return statistics.median(values) if values else None


class Target(msgspec.Struct, frozen=True):
    """What is to be reached; None: not asked for.

    latency_ms   p99 of the pipeline; by default the time from one frame to the next
    cpu_share    of all cores
    celsius      at the end
    """

    latency_ms: float
    cpu_share: float | None = None
    celsius: float | None = None
