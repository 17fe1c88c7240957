"""`python -m tests.plugged`: the command line, with rooms that exist only here.

All of them are on where the log is at DEBUG, and absent otherwise.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from edge.__main__ import leave
from edge.config import Config
from edge.contract import Request
from edge.daemon import rooms
from edge.daemon.commands import Answer
from edge.daemon.rooms import Outlet, Room
from edge.frames import Classified, Frame
from edge.model.engine import Engine

log = logging.getLogger(__name__)
BREAKS_AT = 3


class Odd:
    """A gate that skips every frame with an odd number."""

    name = "odd"

    def skip(self, frame: Frame) -> str:
        """Return the reason."""
        return "odd" if frame.sequence % 2 else ""


class Counted(msgspec.Struct, frozen=True):
    """The counter's part of telemetry."""

    frames: int
    changes: int


class Counter:
    """An observer that counts."""

    name = "counter"

    def __init__(self) -> None:
        self._frames = self._changes = 0

    def classified(self, seen: Classified) -> None:
        """Count a frame."""
        if seen.frame.sequence % 2:
            raise AssertionError("a frame that the gate has skipped")
        self._frames += 1
        self._changes += seen.change is not None

    def figures(self) -> Counted:
        """Return the counts."""
        return Counted(self._frames, self._changes)

    def close(self) -> None:
        """Say so."""
        log.warning("the counter is closed")


class Broken:
    """An observer that raises."""

    name = "broken"

    def __init__(self) -> None:
        self._left = BREAKS_AT

    def classified(self, seen: Classified) -> None:
        """Raise at the third frame."""
        self._left -= 1
        if self._left == 0:
            raise RuntimeError("the third frame")

    def figures(self) -> None:
        """Return none."""

    def close(self) -> None:
        """Release nothing."""


class Count(Request, frozen=True):
    """The counter's request."""

    least: int = 0


def count(counter: Counter, request: Count) -> Answer:
    """Answer it."""
    if request.least < 0:
        raise ValueError("less than nothing")
    return {"enough": counter.figures().frames >= request.least}


def configured(kind: type[Any]) -> Any:
    """Return what makes a plug where the config has it."""

    def make(config: Config, _: Engine, __: Outlet) -> Any:
        return kind() if config.log.level == "debug" else None

    return make


ROOMS = (
    Room("log", gate=configured(Odd)),
    Room("log", observer=configured(Broken)),
    Room("log", observer=configured(Counter), requests={"count": (Count, count)}),
)

if __name__ == "__main__":
    rooms.ROOMS = ROOMS
    leave()
