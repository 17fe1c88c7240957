"""Rooms: a plug follows its table and the model; one that cannot be made changes nothing."""

from __future__ import annotations

from typing import cast

import pytest
from msgspec.structs import replace

from edge.config import Config
from edge.contract.encode import Wire
from edge.daemon.events import Events
from edge.daemon.rooms import Outlet, Room, Rooms
from edge.errors import ConfigError
from edge.frames import Classified
from edge.messages import Message
from edge.model.engine import Engine
from edge.pipeline.plugs import Plugs
from edge.telemetry import Stages

WINDOW_5 = replace(Config(), smoothing=replace(Config().smoothing, window=5))
TOP_2 = replace(Config(), publish=replace(Config().publish, top_k=2))
ONE, OTHER = cast(Engine, object()), cast(Engine, object())

SEEN = cast(Classified, object())

TAKEN = {99: "invoke", 98: "fps", 97: "plugs", 96: "window-10"}
"""``top_k`` -> a name that something else has."""


class Plug:
    """An observer that knows what was made, and what was closed."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self._log = name, log
        self.ticks_left = 2
        log.append(f"+{name}")

    def tick(self) -> None:
        """Count down; fail at the third."""
        self.ticks_left -= 1
        if self.ticks_left < 0:
            raise OSError("the third tick")

    def keep(self, reason: str, _: Classified) -> None:
        """Note the reason; fail where there is none."""
        if not reason:
            raise OSError("no reason")
        self._log.append(f"{reason} for {self.name}")

    def classified(self, seen: Classified) -> None:
        """Take a frame."""

    def figures(self) -> None:
        """Return none."""

    def close(self) -> None:
        """Note it; then fail, which concerns nobody."""
        self._log.append(f"-{self.name}")
        raise OSError("cannot be closed")


def rooms(log: list[str], outlets: list[Outlet] | None = None) -> Rooms:
    """Return two rooms: one for each table; [publish] is refused where ``top_k`` is 1.

    outlets  gets what the first room is given
    """
    outlets = [] if outlets is None else outlets

    def smoothing(config: Config, _: Engine, outlet: Outlet) -> Plug:
        outlets.append(outlet)
        return Plug(f"window-{config.smoothing.window}", log)

    def publish(config: Config, _: Engine, __: Outlet) -> Plug:
        if config.publish.top_k == 1:
            raise RuntimeError("one is too few")
        return Plug(TAKEN.get(config.publish.top_k, f"top-{config.publish.top_k}"), log)

    def drop(_: Message) -> None:
        """Publish nothing."""

    wire = Wire("edge/wall", ("cat",), "cafe", lambda: 1.0)
    plugs = Plugs(Plug("publish", []), Stages().ring, lambda name, _: log.append(f"!{name}"))
    outlet = Outlet(wire, drop, Events(wire, drop))
    table = (
        Room("smoothing", observer=smoothing, tick=Plug.tick),
        Room("publish", observer=publish, keep=Plug.keep),
    )
    return Rooms(table, plugs, outlet)


def apply(made: Rooms, config: Config, engine: Engine = ONE) -> None:
    """Use a config and a model."""
    made.take(made.prepare(config, engine))


def test_only_a_plug_whose_table_changes_is_made_again() -> None:
    """And the one before is closed."""
    log: list[str] = []
    made = rooms(log)
    apply(made, Config())
    apply(made, TOP_2)
    assert log == ["+window-10", "+top-5", "+top-2", "-top-5"]
    apply(made, TOP_2)
    assert len(log) == 4


def test_another_model_makes_all_of_them_again() -> None:
    """Its labels are others."""
    log: list[str] = []
    made = rooms(log)
    apply(made, Config())
    apply(made, Config(), OTHER)
    assert log[2:] == ["+window-10", "+top-5", "-window-10", "-top-5"]


def test_what_cannot_be_made_leaves_the_old_at_work() -> None:
    """What was made for it so far is closed."""
    log: list[str] = []
    made = rooms(log)
    apply(made, Config())
    wrong = replace(WINDOW_5, publish=replace(Config().publish, top_k=1))
    with pytest.raises(ConfigError, match=r"\[publish\]: cannot be used: RuntimeError: one is"):
        made.prepare(wrong, ONE)
    assert log[2:] == ["+window-5", "-window-5"]
    made.close()
    assert log[4:] == ["-window-10", "-top-5"]


@pytest.mark.parametrize(
    ("top_k", "line"),
    [
        (99, r"invoke is a stage of the pipeline"),
        (98, r"fps is taken"),
        (97, r"plugs is taken"),
        (96, r"window-10 is taken"),
    ],
)
def test_a_name_that_is_taken_is_refused_before_anything_changes(top_k: int, line: str) -> None:
    """At a reload, it must not end the daemon; the plug that has the name is closed."""
    log: list[str] = []
    made = rooms(log)
    apply(made, Config())
    wrong = replace(Config(), publish=replace(Config().publish, top_k=top_k))
    with pytest.raises(ConfigError, match=rf"\[publish\].*{line}"):
        made.prepare(wrong, ONE)
    assert log[2:] == [f"+{TAKEN[top_k]}", f"-{TAKEN[top_k]}"]


def test_what_was_prepared_and_is_not_used_is_closed() -> None:
    """Where something else of a request is refused."""
    log: list[str] = []
    made = rooms(log)
    apply(made, Config())
    made.drop(made.prepare(WINDOW_5, ONE))
    assert log[2:] == ["+window-5", "-window-5"]
    assert made.rows() == {}


def test_a_tick_comes_without_frames_and_one_that_raises_switches_its_plug_off() -> None:
    """Twice it is called; the third time it raises, is reported once and called no more."""
    log: list[str] = []
    made = rooms(log)
    made.tick()
    apply(made, Config())
    for _ in range(5):
        made.tick()
    assert log == ["+window-10", "+top-5", "!window-10"]
    apply(made, WINDOW_5)
    made.tick()
    assert log[-2:] == ["+window-5", "-window-10"]


def test_a_frame_is_kept_by_the_room_that_keeps_and_what_it_raises_is_its_own() -> None:
    """A room asks through its outlet; one that keeps and raises is switched off, not who asks."""
    log: list[str] = []
    outlets: list[Outlet] = []
    made = rooms(log, outlets)
    made.keep("too early", SEEN)
    apply(made, Config())
    outlets[0].keep("drift", SEEN)
    assert log == ["+window-10", "+top-5", "drift for top-5"]
    made.keep("", SEEN)
    outlets[0].keep("drift", SEEN)
    assert log[3:] == ["!top-5"]
