"""The rooms that plug in: one row each, with what switches it on, its plug and its requests.

A new capability is a row of ``ROOMS`` here; the loop, the commands and the telemetry find it there.
Its config table, payloads and telemetry part it declares in config/ and contract/.

Rule 1: a plug is made when its table of the config switches it on, and again when that table or
        the model changes.
Rule 2: a plug that cannot be made, or whose name is taken, is an EdgeError, and the ones at work
        stay.
Rule 3: making a plug takes less than a frame; what takes longer it does on a worker of its own.

Runs on the loop's thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from edge.config import Config
from edge.contract import Request
from edge.contract.encode import Wire
from edge.contract.telemetry import FIELDS
from edge.daemon import cases, drifting
from edge.daemon.adapting import Adapting
from edge.daemon.commands import Answer, Pending, Row
from edge.daemon.events import Events
from edge.daemon.shadowing import Shadowing
from edge.errors import ConfigError, EdgeError, boundary
from edge.frames import Classified
from edge.gates.governor import Governor
from edge.messages import Message
from edge.model.engine import Engine
from edge.observers.cases import Cases
from edge.observers.shadow import Shadow
from edge.pipeline.plugs import Gate, Observer, Plugs


@dataclass(frozen=True, slots=True)
class Outlet:
    """What a plug may use of the daemon; all of it on the loop's thread alone.

    publish    takes a message, never waits
    drifted    takes why the model drifts, or an empty text
    shadowing  makes the shadow, and keeps it through a reload
    adapting   makes the gates of [adaptive]
    keep       asks the room that keeps cases, if it is on, for a frame: a reason, and the frame as
               observers get it; its pixels and scores are copied at once
    """

    wire: Wire
    publish: Callable[[Message], None]
    events: Events
    drifted: Callable[[str], None] = lambda _: None
    shadowing: Shadowing | None = None
    adapting: Adapting | None = None
    keep: Callable[[str, Classified], None] = lambda reason, seen: None


@dataclass(frozen=True, slots=True)
class Room:
    """A capability.

    table            of the config that switches it on
    gate, observer   make its plug; they return None where it is not configured
    both             its gate is its observer, too
    requests         command -> payload, and a handler that takes the plug and the request
    tick             called with the plug between two frames, and while none arrives; returns soon.
                     It takes what a worker has finished
    keep             keeps a frame for another room's observer: the plug, a reason, the frame
    """

    table: str
    gate: Callable[[Config, Engine, Outlet], Gate | None] | None = None
    observer: Callable[[Config, Engine, Outlet], Observer | None] | None = None
    both: bool = False
    requests: Mapping[str, tuple[type[Request], Callable[[Any, Any], Answer | Pending]]] = field(
        default_factory=dict
    )
    tick: Callable[[Any], None] | None = None
    keep: Callable[[Any, str, Classified], None] | None = None


def _drift(config: Config, engine: Engine, outlet: Outlet) -> Observer | None:
    return drifting.observer(config, engine, outlet.events, outlet.drifted, outlet.keep)


def _shadow(config: Config, engine: Engine, outlet: Outlet) -> Observer | None:
    making = outlet.shadowing
    return making.observer(config, engine, outlet.events, outlet.keep) if making else None


def _governor(config: Config, engine: Engine, outlet: Outlet) -> Gate | None:
    return outlet.adapting.governor(config, outlet.events) if outlet.adapting else None


def _motion(config: Config, engine: Engine, outlet: Outlet) -> Gate | None:
    return outlet.adapting.motion(config, engine) if outlet.adapting else None


ROOMS: tuple[Room, ...] = (
    Room("adaptive", gate=_governor, both=True, tick=Governor.tick),
    Room("adaptive", gate=_motion, both=True),
    Room("drift", observer=_drift),
    Room("shadow", observer=_shadow, tick=Shadow.tick),
    Room(
        "cases", observer=cases.observer, requests=cases.REQUESTS, tick=Cases.tick, keep=Cases.ask
    ),
)
"""All of them, gates and observers in the order in which they get a frame; cases come last, after
those that may ask for a frame."""


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """What was made of a room, and of what."""

    room: Room
    table: Any
    engine: Engine
    gate: Gate | None
    observer: Observer | None

    def fits(self, table: Any, engine: Engine) -> bool:
        """Return whether the same would be made again."""
        return self.table == table and self.engine is engine

    @property
    def plugs(self) -> tuple[Gate | Observer, ...]:
        """Its gate and its observer, as far as there are any; one object may be both."""
        return tuple(plug for plug in (self.gate, self.observer) if plug is not None)

    @property
    def plug(self) -> Gate | Observer | None:
        """What requests and ticks are given."""
        return self.observer or self.gate

    def has_failed(self, failed: tuple[str, ...]) -> bool:
        """Return whether its plug is among those that were switched off."""
        return any(plug.name in failed for plug in self.plugs)

    def close(self) -> None:
        """Close its observer, whatever that raises."""
        if self.observer is not None:
            with contextlib.suppress(Exception):
                self.observer.close()


class Rooms:
    """The plugs of every room, as the config in force has them."""

    def __init__(self, rooms: Iterable[Room], plugs: Plugs, outlet: Outlet) -> None:
        self._rooms: Final = tuple(rooms)
        self._plugs, self._outlet = plugs, replace(outlet, keep=self.keep)
        self._made: tuple[Made, ...] = ()
        self._ticking: tuple[Made, ...] = ()

    def prepare(self, config: Config, engine: Engine) -> list[Made]:
        """Return the plugs for a config and a model; nothing changes yet. Raises EdgeError."""
        prepared: list[Made] = []
        try:
            for room in self._rooms:
                before = next((made for made in self._made if made.room is room), None)
                prepared.append(self._make(room, before, config, engine))
            self._check_names(prepared)
        except BaseException:
            self.drop(prepared)
            raise
        return prepared

    def take(self, prepared: list[Made]) -> None:
        """Use what was prepared from now on, and close what it replaces."""
        before, self._made = self._made, tuple(prepared)
        self._plugs.replace(
            [made.gate for made in self._made if made.gate is not None],
            [made.observer for made in self._made if made.observer is not None],
        )
        self._ticking = tuple(made for made in self._made if made.room.tick and made.plug)
        for made in before:
            if made not in self._made:
                made.close()

    def tick(self) -> None:
        """Call each plug's tick; one that raises switches its plug off."""
        for made in self._ticking:
            if made.room.tick and made.plug and not made.has_failed(self._plugs.failed):
                try:
                    made.room.tick(made.plug)
                except Exception as exc:
                    self._plugs.switch_off(made.plug, exc)

    def keep(self, reason: str, seen: Classified) -> None:
        """Ask for a frame; a plug that raises is switched off, not the one that asks."""
        for made in self._made:
            if made.room.keep and made.plug and not made.has_failed(self._plugs.failed):
                try:
                    made.room.keep(made.plug, reason, seen)
                except Exception as exc:
                    self._plugs.switch_off(made.plug, exc)

    def drop(self, prepared: list[Made]) -> None:
        """Close what was prepared and is not used."""
        for made in prepared:
            if made not in self._made:
                made.close()

    def close(self) -> None:
        """Close every plug."""
        for made in self._made:
            made.close()

    def rows(self) -> dict[str, Row]:
        """Return the rooms' commands."""
        return {
            command: Row(payload, self._handler(room, handle))
            for room in self._rooms
            for command, (payload, handle) in room.requests.items()
        }

    def _make(self, room: Room, before: Made | None, config: Config, engine: Engine) -> Made:
        table = getattr(config, room.table)
        if before and before.fits(table, engine) and not before.has_failed(self._plugs.failed):
            return before
        with boundary(ConfigError, "cannot be used", f"[{room.table}]"):
            gate = room.gate(config, engine, self._outlet) if room.gate else None
            observer = room.observer(config, engine, self._outlet) if room.observer else None
            if room.both:
                observer = cast("Observer | None", gate)
            return Made(room, table, engine, gate, observer)

    def _check_names(self, prepared: Iterable[Made]) -> None:
        """Raise ConfigError for a name that something else in telemetry has."""
        owners: dict[str, Gate | Observer] = {}
        for made in prepared:
            with boundary(ConfigError, "cannot be used", f"[{made.room.table}]"):
                for plug in made.plugs:
                    self._plugs.ring(plug.name)  # raises here, not once it is in force
                    if plug.name in FIELDS or owners.setdefault(plug.name, plug) is not plug:
                        raise ValueError(f"{plug.name} is taken: a plug needs another name")

    def _handler(
        self, room: Room, handle: Callable[[Any, Any], Answer | Pending]
    ) -> Callable[[Any], Answer | Pending]:
        def execute(request: Any) -> Answer | Pending:
            made = next((made for made in self._made if made.room is room), None)
            if not made or not made.plug or made.has_failed(self._plugs.failed):
                raise ConfigError(f"{room.table} is off", hint=f"see [{room.table}] of the config")
            with boundary(EdgeError, "the request failed", room.table):
                return handle(made.plug, request)

        return execute
