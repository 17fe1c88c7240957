"""Pauses the run by request: puts the gate in, and takes it out when the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge.contract import EventType, Pause, Request
from edge.daemon.commands import Answer
from edge.daemon.events import Events
from edge.daemon.run import Run
from edge.gates.pause import PauseGate
from edge.pipeline.plugs import Plugs


class Pausing:
    """Handles `pause` and `resume`. state: publishes the state again."""

    def __init__(self, run: Run, plugs: Plugs, events: Events, state: Callable[[], None]) -> None:
        self._run, self._plugs, self._events, self._state = run, plugs, events, state

    def tick(self) -> None:
        """Resume once the time is over."""
        gate = self._run.pause
        if gate is not None and gate.over(time.monotonic()):
            self._set(None)

    def pause(self, request: Pause) -> Answer:
        """Pause, until resumed or for so many seconds; or resume."""
        until_s = time.monotonic() + (request.seconds or float("inf"))
        self._set(PauseGate(until_s) if request.paused else None)
        return {"paused": request.paused, "seconds": request.seconds}

    def resume(self, _: Request) -> Answer:
        """Resume."""
        self._set(None)
        return {}

    def _set(self, gate: PauseGate | None) -> None:
        was_paused = self._run.paused
        self._run.set_pause(gate)
        self._plugs.switch(gate)
        if self._run.paused == was_paused:
            return
        event: EventType = "paused" if self._run.paused else "resumed"
        self._events.add(event, event)
        self._state()
