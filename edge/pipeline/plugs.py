"""Gates and observers: the two places where a capability joins the frame path.

Rule 1: a plug that is not configured is not here; with none, a frame pays for an empty loop.
Rule 2: one that raises is reported once, counted and switched off; the frame goes on.
Rule 3: each is timed as a stage of its own.

Runs on the loop's thread. A plug that has slow work hands it to a bounded worker of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from edge.frames import Classified, Frame


class Gate(Protocol):
    """Decides, before the model runs, whether a frame is classified."""

    @property
    def name(self) -> str:
        """Its stage in telemetry."""

    def skip(self, frame: Frame) -> str:
        """Return the reason to skip ``frame``, a word; empty to let it pass."""


class Observer(Protocol):
    """Receives every frame that has been classified."""

    @property
    def name(self) -> str:
        """Its stage and its part in telemetry."""

    def classified(self, seen: Classified) -> None:
        """Take one frame; what is kept of its pixels and scores is copied."""

    def figures(self) -> object | None:
        """Return its part of telemetry, a frozen record; None where it has none."""

    def close(self) -> None:
        """Release what it holds."""


class Ring(Protocol):
    """Keeps durations."""

    def add(self, duration_ns: int) -> None:
        """Keep one."""


Plug = TypeVar("Plug", Gate, Observer)


@dataclass(frozen=True, slots=True)
class _Timed(Generic[Plug]):
    plug: Plug
    ring: Ring


class Plugs:
    """The gates and observers of one run, in order.

    handover  the observer that a run cannot do without: publishing. It comes first, its stage is
              the caller's to time, and what it raises is raised
    ring      returns the ring of a plug's stage; raises ValueError where it cannot be one
    report    called once for a plug that has been switched off, with what it raised
    """

    def __init__(
        self,
        handover: Observer,
        ring: Callable[[str], Ring],
        report: Callable[[str, Exception], None],
    ) -> None:
        self._handover, self.ring, self._report = handover, ring, report
        self._switch: Gate | None = None
        self._gates: tuple[_Timed[Gate], ...] = ()
        self._observers: tuple[_Timed[Observer], ...] = ()
        self.failed: tuple[str, ...] = ()
        """Names of those that were switched off because they raised."""

    @property
    def configured(self) -> bool:
        """Whether there is any plug beyond publishing and the switch."""
        return bool(self._gates or self._observers or self.failed)

    def skip(self, frame: Frame) -> str:
        """Return why ``frame`` is not classified; empty where it is."""
        if self._switch is not None and (reason := self._switch.skip(frame)):
            return reason
        for gate in self._gates:
            begin_ns = time.monotonic_ns()
            try:
                reason = gate.plug.skip(frame)
            except Exception as exc:
                self.switch_off(gate.plug, exc)
                continue
            gate.ring.add(time.monotonic_ns() - begin_ns)
            if reason:
                return reason
        return ""

    def classified(self, seen: Classified) -> int:
        """Hand ``seen`` to every observer; return when the first was done, in ns."""
        self._handover.classified(seen)
        handed_ns = end_ns = time.monotonic_ns()
        for observer in self._observers:
            begin_ns = end_ns
            try:
                observer.plug.classified(seen)
            except Exception as exc:
                self.switch_off(observer.plug, exc)
            end_ns = time.monotonic_ns()
            observer.ring.add(end_ns - begin_ns)
        return handed_ns

    def parts(self) -> dict[str, object]:
        """Return the observers' parts of telemetry, by name."""
        found = {}
        for observer in (self._handover, *(timed.plug for timed in self._observers)):
            try:
                part = observer.figures()
            except Exception as exc:
                self.switch_off(observer, exc)
                continue
            if part is not None:
                found[observer.name] = part
        return found

    def switch(self, gate: Gate | None) -> None:
        """Call ``gate`` first from now on, without timing it; None: remove it."""
        self._switch = gate

    def replace(self, gates: Sequence[Gate], observers: Sequence[Observer]) -> None:
        """Use these from now on; the caller closes those that they replace."""
        self._gates = tuple(_Timed(gate, self.ring(gate.name)) for gate in gates)
        self._observers = tuple(_Timed(one, self.ring(one.name)) for one in observers)
        self.failed = ()

    def switch_off(self, plug: Gate | Observer, exc: Exception) -> None:
        """Use ``plug`` no more, because it raised ``exc``; report it."""
        self._gates = tuple(timed for timed in self._gates if timed.plug is not plug)
        self._observers = tuple(timed for timed in self._observers if timed.plug is not plug)
        self.failed += (plug.name,)
        self._report(plug.name, exc)
