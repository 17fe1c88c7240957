"""The link's states: every event in every state, and when it connects again. No network."""

from __future__ import annotations

import typing
from collections.abc import Iterator

import pytest

from edge.messages import Message
from edge.mqtt import lifecycle
from edge.mqtt.lifecycle import (
    ANSWER_S,
    DELAY_S,
    NEXT,
    SHORT_S,
    Acknowledged,
    Closed,
    Connected,
    Event,
    Flooded,
    Lifecycle,
    Lost,
    Opened,
    Refused,
    SetAside,
    State,
    Subscribed,
    Unreachable,
)
from edge.mqtt.limits import QOS_REFUSED, RETAIN_REFUSED, Limits
from edge.mqtt.suspects import RECENT, ROW, Suspects

WILL = Message("edge/d/availability", b"offline", 1, True)
RECONNECT_S = 30.0
EVENTS: dict[str, Event] = {
    "Opened": Opened(),
    "Connected": Connected(Limits()),
    "Refused": Refused("not authorised", 0x87),
    "Unreachable": Unreachable("connection refused"),
    "Lost": Lost("keepalive", innocent=False),
    "Closed": Closed(),
    "Acknowledged": Acknowledged(7),
    "Subscribed": Subscribed(7),
    "Flooded": Flooded("edge/d/request/+"),
}
PATHS: dict[State, list[Event]] = {
    State.IDLE: [],
    State.CONNECTING: [Opened()],
    State.UP: [Opened(), Connected(Limits())],
    State.WAITING: [Opened(), Unreachable("connection refused")],
}


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait just as long as was decided, neither more nor less."""
    monkeypatch.setattr("random.uniform", lambda *_: 1.0)


def link(state: State = State.IDLE, at_s: float = 0.0) -> tuple[Lifecycle, Suspects]:
    """Return a link in ``state`` since ``at_s``, and its suspects."""
    suspects = Suspects()
    life = Lifecycle(WILL, RECONNECT_S, suspects)
    for event in PATHS[state]:
        life.see(event, at_s)
    assert life.state is state
    return life, suspects


def drawn() -> Iterator[tuple[State, str, State | None]]:
    """Yield the cells of the table at the head of the file; where it has a dash, None."""
    lines = (lifecycle.__doc__ or "").splitlines()
    head = next(line for line in lines if line.split()[:1] == ["Opened"]).split()
    for state in State:
        name, *cells = next(line for line in lines if line.startswith(state.name)).split()
        assert len(cells) == len(head), name
        for event, cell in zip(head, cells, strict=True):
            yield state, event, None if cell == "-" else State[cell]


def test_the_table_that_is_drawn_is_the_one_that_is_obeyed() -> None:
    """The head of the file and NEXT have the same cells; every event is in the test."""
    cells = {(state, event): after for state, event, after in drawn()}
    for state in State:
        for name, event in EVENTS.items():
            quiet = state if state is State.UP else None
            assert NEXT[state].get(type(event)) == cells.get((state, name), quiet)
    assert {type(event) for event in EVENTS.values()} == set(typing.get_args(Event))


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("state", State)
def test_every_event_in_every_state(state: State, name: str) -> None:
    """It leads where the table says and is reported, or it is late and changes nothing."""
    life, suspects = link(state)
    suspects.sent(7, "topic", 10, True, 0.0)
    before = dict(vars(life)), dict(suspects._underway)
    after = NEXT[state].get(type(EVENTS[name]))
    reports = life.see(EVENTS[name], 1.0)
    if after is None:
        assert reports == ()
        assert (dict(vars(life)), dict(suspects._underway)) == before
    else:
        assert reports == (EVENTS[name],)
        assert life.state is after


@pytest.mark.parametrize("state", State)
def test_it_connects_again_in_one_state_alone(state: State) -> None:
    """Neither while it connects or is up, nor once it is closed."""
    life, _ = link(state)
    assert life.due(1e9) == (state is State.WAITING)
    life.see(Closed(), 1.0)
    assert not life.due(1e9)


@pytest.mark.parametrize("state", State)
def test_an_answer_is_overdue_in_one_state_alone(state: State) -> None:
    """After ANSWER_S without CONNACK; then the link waits, and is not overdue twice."""
    life, _ = link(state)
    assert life.overdue(ANSWER_S) is None
    event = life.overdue(ANSWER_S + 1)
    assert (event is not None) == (state is State.CONNECTING)
    if event is not None:
        assert event == Unreachable("no answer in 60 s")
        assert life.see(event, ANSWER_S + 1) == (event,)
        assert life.overdue(1e9) is None


def waits(life: Lifecycle, now_s: float) -> float:
    """Return after how long it connects again, to a tenth of a second."""
    tenths = next(tenth for tenth in range(1000) if life.due(now_s + tenth / 10 + 1e-6))
    return tenths / 10


def test_each_failure_doubles_the_wait() -> None:
    """1, 2, 4 ... reconnect_s, whether nobody answers or the connection ends at once."""
    life, _ = link()
    found = []
    for number in range(8):
        now = 100.0 * number
        life.see(Opened(), now)
        if number % 2:
            life.see(Connected(Limits()), now)
            life.see(Lost("gone", innocent=True), now + SHORT_S - 1)
            now += SHORT_S - 1
        else:
            life.see(Unreachable("nobody"), now)
        found.append(waits(life, now))
    assert found == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_fleet_does_not_return_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The devices of a node that died come back over a second, none of them at once."""
    monkeypatch.undo()
    again = []
    for _ in range(300):
        life, _ = link(State.CONNECTING)
        life.see(Connected(Limits()), 0.0)
        life.see(Lost("gone", innocent=True), 100.0)
        again.append(waits(life, 100.0))
    assert min(again) <= 0.6
    assert 1.4 <= max(again) <= 1.5


def test_a_connection_that_lasted_begins_the_waits_again() -> None:
    """Not one that was refused: that waits for reconnect_s at once."""
    life, _ = link(State.CONNECTING)
    life.see(Refused("not authorised", 0x87), 0.0)
    assert waits(life, 0.0) == RECONNECT_S
    life.see(Opened(), 40.0)
    life.see(Connected(Limits()), 40.0)
    life.see(Lost("gone", innocent=True), 40.0 + SHORT_S)
    assert waits(life, 40.0 + SHORT_S) == DELAY_S


def test_a_will_that_is_too_much_for_the_broker_is_reduced_and_tried_at_once() -> None:
    """Retained first, then QoS 1; a refusal that remains is reported."""
    life, _ = link(State.CONNECTING)
    for code, will in (
        (RETAIN_REFUSED, Message(WILL.topic, WILL.payload, 1, False)),
        (QOS_REFUSED, Message(WILL.topic, WILL.payload, 0, False)),
    ):
        assert life.see(Refused("will", code), 1.0) == ()
        assert life.will == will
        assert life.due(1.0)
        life.see(Opened(), 1.0)
    refused = Refused("will", QOS_REFUSED)
    assert life.see(refused, 1.0) == (refused,)
    assert not life.due(2.0)


def test_a_topic_that_ends_connections_is_set_aside() -> None:
    """After ROW ends in a row with it underway; never where the end is innocent."""
    for innocent in (False, True):
        life, suspects = link()
        lost = Lost("gone", innocent)
        for number in range(ROW):
            life.see(Opened(), float(number))
            life.see(Connected(Limits()), float(number))
            suspects.sent(1, "edge/d/state", 100, True, float(number))
            reports = life.see(lost, number + 0.5)
        assert reports == ((lost,) if innocent else (lost, SetAside("edge/d/state", 100)))
        assert suspects.careful is False


def test_what_was_acknowledged_is_not_suspected() -> None:
    """A message, or a subscription."""
    for event in (Acknowledged(1), Subscribed(1)):
        life, suspects = link()
        for number in range(ROW):
            life.see(Opened(), float(number))
            life.see(Connected(Limits()), float(number))
            suspects.sent(1, "edge/d/state", 100, True, float(number))
            life.see(event, float(number))
            reports = life.see(Lost("gone", innocent=False), number + 0.5)
        assert reports == (Lost("gone", innocent=False),)


def test_a_subscription_that_was_refused_is_suspected() -> None:
    """RabbitMQ refuses it in its answer, and ends the connection after that."""
    life, suspects = link()
    for number in range(ROW):
        life.see(Opened(), float(number))
        life.see(Connected(Limits()), float(number))
        suspects.sent(1, "subscription edge/d/claim", 0, True, float(number))
        life.see(Subscribed(1, "Not authorized"), float(number))
        reports = life.see(Lost("gone", innocent=False), number + 0.5)
    assert reports[1:] == (SetAside("subscription edge/d/claim", 0),)


def test_a_network_that_breaks_again_and_again_sets_nothing_aside() -> None:
    """What the connection has outlived before is not the cause; what is longer may be."""
    for certain in (False, True):
        for size in (100, 101):
            life, suspects = link()
            reports: list[object] = []
            for number in range(2 * ROW):
                now_s = 100.0 * number
                life.see(Opened(), now_s)
                life.see(Connected(Limits()), now_s)
                suspects.sent(1, "edge/d/result", 100, certain, now_s)
                life.see(Acknowledged(1), now_s)
                suspects.sent(2, "edge/d/result", size, certain, now_s + 5.0)
                reports += life.see(Lost("gone", innocent=False), now_s + 5.5)
            assert any(isinstance(one, SetAside) for one in reports) == (size > 100)


def test_what_has_passed_is_remembered_within_bounds() -> None:
    """Answers go to as many topics as strangers ask for; the newest are remembered."""
    suspects = Suspects()
    suspects.up(0.0)
    for number in range(3 * RECENT):
        suspects.sent(number, f"topic {number}", 100, True, 0.0)
        suspects.taken(number)
    assert list(suspects._passed) == [f"topic {number}" for number in range(2 * RECENT, 3 * RECENT)]
