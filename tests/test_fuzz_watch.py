"""Fuzzing what a broker keeps: `edge watch` and `edge doctor` on payloads of strangers."""

from __future__ import annotations

import copy
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from edge import config as configs
from edge.cli.screen import TOPICS, Screen
from edge.doctor import _redacted, published
from edge.doctor.checks import Check
from edge.doctor.service import Unit
from tests.conftest import ROOT
from tests.fuzz import corpus, fuzz, mutated

GOLDEN = {
    kind: json.loads((ROOT / "tests/golden" / f"{kind}.json").read_text())["payload"]
    for kind in ("info", "state", "result", "event", "telemetry")
}
NUMBERS = (0, -1, 10**18, 10**400, 1e308, -1e308, 253_402_300_799)
WILD: tuple[Any, ...] = (
    *(None, True, *NUMBERS, "", "\x1b[2J\n\u202e\ud800", "x" * 100_000),
    *([], {}, ["\x1b"] * 1000, {f"\x1b{n}": n / 500 for n in range(500)}, {"a": {"b": [1e308]}}),
)
CONFIG = configs.load(None, {"device": {"id": "wall"}})


@st.composite
def wild(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw a topic and a message of this version's with some of its values replaced."""
    kind = draw(st.sampled_from(sorted(GOLDEN)))
    body = json.loads(json.dumps(GOLDEN[kind]))
    for _ in range(draw(st.integers(1, 4))):
        table: Any = body
        while True:
            key = draw(st.sampled_from(sorted(table)))
            if not (isinstance(table[key], dict) and table[key] and draw(st.booleans())):
                break
            table = table[key]
        table[key] = copy.deepcopy(draw(st.sampled_from(WILD)))
    return kind, json.dumps(body).encode()


SEEDS = [json.dumps(body).encode() for body in GOLDEN.values()]
MESSAGES = wild() | st.tuples(st.sampled_from(TOPICS), mutated([*SEEDS, *corpus("published")]))


def drawn(screen: Screen) -> str:
    """Return the screen as text."""
    console = Console(width=120, file=io.StringIO())
    with console.capture() as captured:
        console.print(screen.render())
    return captured.get()


@pytest.mark.fuzz
@fuzz(150)
@given(messages=st.lists(st.tuples(st.text(max_size=9), MESSAGES), min_size=1, max_size=6))
def test_watch_shows_whatever_comes(messages: list[tuple[str, tuple[str, bytes]]]) -> None:
    """No exception, no line that a terminal obeys, a screen of some size."""
    screen = Screen()
    for name, (kind, payload) in messages:
        line = screen.take(f"edge/{name}/{kind}", payload)
        assert line is None or (line.isprintable() and len(line) < 20_000)
    content = drawn(screen)
    assert len(content) < 500_000
    assert content.replace("\n", "").isprintable()


@pytest.mark.fuzz
@fuzz(150)
@given(messages=st.lists(MESSAGES, min_size=1, max_size=3), online=st.binary(max_size=8))
def test_doctor_judges_whatever_is_kept(messages: list[tuple[str, bytes]], online: bytes) -> None:
    """A verdict, a line of some length, and facts that are JSON."""
    kept = {f"edge/wall/{kind}": payload for kind, payload in messages}
    kept["edge/wall/availability"] = online
    found = _redacted(published.check("edge/wall", kept, CONFIG, Unit(), 1.8e9), set())
    assert isinstance(found, Check)
    assert found.line.isprintable()
    assert len(found.line) < 5000
    assert len(json.dumps(found.facts, allow_nan=False)) < 50_000


def tables(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return ``body`` and every table in it."""
    inner = [value for value in body.values() if isinstance(value, dict)]
    return [body, *(found for one in inner for found in tables(one))]


@pytest.mark.parametrize("kind", GOLDEN)
def test_each_field_with_each_wild_value(kind: str) -> None:
    """One at a time: shown or counted by `edge watch`, judged by `edge doctor`."""
    body = copy.deepcopy(GOLDEN[kind])
    for table in tables(body):
        for key in list(table):
            right = table[key]
            for value in WILD:
                table[key] = value
                payload = json.dumps(body).encode()
                screen = Screen()
                if screen.take(f"edge/wall/{kind}", payload):
                    drawn(screen)
                if kind in published.TOPICS:
                    published.check("edge/wall", {f"edge/wall/{kind}": payload}, CONFIG, Unit(), 9)
            table[key] = right


def test_invented_devices_take_no_memory() -> None:
    """A thousand are shown; of the others it is said, once, that there are more."""
    screen, state = Screen(), json.dumps(GOLDEN["state"]).encode()
    lines = [screen.take(f"edge/d{number}/state", state) for number in range(5000)]
    assert len(screen.devices) == 1000
    assert [line for line in lines[1000:] if line] == [
        "more than 1000 devices: 1 messages not shown"
    ]
    assert "more than 1000 devices: 4000 messages not shown" in drawn(screen)


def test_a_message_is_held_as_far_as_it_is_shown() -> None:
    """Long names and lists are cut, a large message is counted; the best scores stay."""
    screen = Screen()
    scores = {f"label {number:04}": number / 2000 for number in range(1001)}
    assert screen.take("edge/a/state", json.dumps(GOLDEN["state"] | {"scores": scores}).encode())
    held = screen.devices["a"].newest["state"]["scores"]
    assert len(held) == 64
    assert max(held) == "label 1000"
    event = GOLDEN["event"] | {"evidence": {"x" * 9000: "y" * 200_000}}
    assert screen.take("edge/a/event", json.dumps(event).encode())
    assert len(str(screen.devices["a"].events)) < 1000
    assert screen.take("edge/a/event", json.dumps(event).encode() + b" " * 262_144) is None
    assert screen.unreadable_total == 1
