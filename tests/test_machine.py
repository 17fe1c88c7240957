"""The state machine of a camera: every event in every phase and every health, by its tables."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import fields
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.camera import machine as machines
from edge.camera import states as on
from edge.camera.machine import HEALTH, PHASES, Impossible, Machine
from edge.camera.policy import STUCK_S, Change, Policy, State
from edge.camera.states import Closing, Event, Online, Open, Opening, Outage, Phase, Waiting
from edge.errors import CameraError
from edge.frames import CameraMode

MODE = CameraMode("v4l2", "cam", 2, 2, 30.0, "bgr")
FILM = CameraMode("file", "cam", 2, 2, 30.0, "bgr")
GONE = CameraError("has gone", reason="gone")
ABSENT = CameraError("is not there", reason="absent")
NOW_S = 1000.0
PHASE: dict[type[Phase], Phase] = {
    Opening: Opening(NOW_S),
    Open: Open(1.0),
    Closing: Closing(NOW_S, Waiting(NOW_S + 9.0, True)),
    Waiting: Waiting(NOW_S + 9.0, True),
}
HEALTHS: dict[State, Online | Outage] = {
    "online": Online(NOW_S, 2),
    "recovering": Outage("recovering", GONE, 3, 1),
    "failed": Outage("failed", GONE, 3, 1),
}
EVENTS: dict[type[Event], Event] = {
    on.Opened: on.Opened(NOW_S, MODE),
    on.Stale: on.Stale(NOW_S),
    on.Refused: on.Refused(NOW_S, ABSENT),
    on.Unattended: on.Unattended(NOW_S),
    on.Received: on.Received(NOW_S, MODE),
    on.Silent: on.Silent(NOW_S, 0.2),
    on.Lost: on.Lost(NOW_S, ABSENT),
    on.Reopen: on.Reopen(NOW_S),
    on.Closed: on.Closed(NOW_S),
    on.Waited: on.Waited(NOW_S),
    on.Hung: on.Hung(NOW_S, ABSENT),
    on.Due: on.Due(NOW_S),
    on.Spent: on.Spent(NOW_S),
}


def machine(phase: Phase, health: Online | Outage, **policy: object) -> Machine:
    """Return a machine in this state, which has had a camera."""
    made = Machine(Policy(**{"required": False} | policy), NOW_S, lambda: 1.0)  # type: ignore[arg-type]
    made.phase, made.health, made.mode, made.begun = phase, health, MODE, True
    return made


def state(of: Machine) -> tuple[object, ...]:
    """Return all that a machine remembers."""
    return tuple(repr(value) for value in vars(of).values())


def test_every_event_is_in_these_tests() -> None:
    """And every phase and health in the tables."""
    kinds = {one for one in vars(on).values() if isinstance(one, type) and issubclass(one, Event)}
    assert set(EVENTS) == kinds - {Event}
    assert set(PHASES) == set(PHASE)
    assert set(HEALTH) == set(HEALTHS)
    assert {kind for row in HEALTH.values() for kind in row} < set(EVENTS)


@pytest.mark.parametrize(("phase", "event", "health"), list(product(PHASE, EVENTS, HEALTHS)))
def test_an_event_leads_where_the_tables_say(
    phase: type[Phase], event: type[Event], health: State
) -> None:
    """Each of them in every phase and every health; what is not listed is impossible."""
    kept = machine(PHASE[phase], HEALTHS[health])
    before = state(kept)
    target = PHASES[phase].get(event)
    if target is None:
        with pytest.raises(Impossible):
            kept.handle(EVENTS[event])
        assert state(kept) == before
        return
    outcome = kept.handle(EVENTS[event])
    assert type(kept.phase) is target
    if (phase, event) == (Closing, on.Hung):
        assert (outcome.fatal, kept.health) == (ABSENT, HEALTHS[health])
        return
    assert outcome.fatal is None
    assert kept.health.state == HEALTH[health].get(event, health)
    news = [change.state for change in outcome.changes if change.news]
    assert news == ([kept.health.state] if kept.health.state != health else [])


@pytest.mark.parametrize(("phase", "health"), list(product((Opening, Open), HEALTHS)))
@pytest.mark.parametrize("required", [False, True])
def test_a_loss_without_a_try_left_is_spent(
    phase: type[Phase], health: State, required: bool
) -> None:
    """`failed` is reported once, and the daemon ends where the camera is required."""
    kept = machine(PHASE[phase], HEALTHS[health], max_reopens=0, required=required)
    outcome = kept.handle(EVENTS[on.Lost if phase is Open else on.Refused])
    assert kept.health.state == HEALTH[health][on.Spent] == "failed"
    assert [c.state for c in outcome.changes] == ([] if health == "failed" else ["failed"])
    assert (outcome.fatal is not None) == required
    assert "given up after 0 tries" in str(outcome.fatal) or not required


@pytest.mark.parametrize(
    ("phase", "event", "then"),
    [
        (Open(9.0), on.Silent(NOW_S, 1.0), Open(10.0)),
        (Open(9.0), on.Silent(NOW_S, 1.1), Closing(NOW_S, Waiting(NOW_S + 2.0, True))),
        (Opening(NOW_S), on.Waited(NOW_S + STUCK_S + 10.0), Opening(NOW_S)),
        (Closing(NOW_S, Waiting(0.0, True)), on.Waited(NOW_S + STUCK_S), None),
        (Waiting(NOW_S, True), on.Waited(NOW_S), Opening(NOW_S)),
        (Waiting(NOW_S + 0.1, True), on.Waited(NOW_S), Waiting(NOW_S + 0.1, True)),
        (Closing(NOW_S, Waiting(7.0, False)), on.Closed(NOW_S), Waiting(7.0, False)),
        (Open(), on.Reopen(NOW_S), Closing(NOW_S, Waiting(NOW_S, False))),
        (Opening(NOW_S), on.Stale(NOW_S), Closing(NOW_S, Waiting(NOW_S, False))),
        (Opening(NOW_S), on.Refused(NOW_S, ABSENT), Waiting(NOW_S + 2.0, True)),
    ],
)
def test_times_decide_what_follows(phase: Phase, event: Event, then: Phase | None) -> None:
    """At its limit a wait is still one; a loss waits longer the more there were before it."""
    kept = machine(phase, Online(NOW_S, losses=2))
    outcome = kept.handle(event)
    assert kept.phase == (then or phase)
    assert outcome.fatal is None


@pytest.mark.parametrize(
    ("phase", "limit_s", "state"),
    [(Opening(NOW_S), STUCK_S + 10.0, "failed"), (PHASE[Closing], STUCK_S, "online")],
)
def test_a_call_that_takes_longer_hangs(phase: Phase, limit_s: float, state: State) -> None:
    """An opening is waited for where no camera is required, a closing never is."""
    kept = machine(phase, Online(NOW_S))
    outcome = kept.handle(on.Waited(NOW_S + limit_s + 0.1))
    assert kept.phase == phase
    assert kept.health.state == state
    assert (outcome.fatal is None) == isinstance(phase, Opening)
    required = machine(phase, Online(NOW_S), required=True)
    assert "has not answered for" in str(required.handle(on.Waited(NOW_S + 99.0)).fatal)


def test_recorded_sources_are_never_silent_and_their_errors_are_final() -> None:
    """A film that is not required is opened again."""
    for required in (True, False):
        kept = machine(Opening(NOW_S), Online(NOW_S), required=required)
        kept.handle(on.Opened(NOW_S, FILM))
        kept.handle(on.Silent(NOW_S, 1000.0))
        assert kept.phase == Open(1000.0)
        outcome = kept.handle(on.Lost(NOW_S, GONE))
        assert (outcome.fatal is GONE) == required
        assert isinstance(kept.phase, Closing)
        assert len(outcome.changes) == (not required)


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("error", [ABSENT, KeyError("ours")])
def test_the_first_refusal_is_fatal_where_the_camera_is_required(
    required: bool, error: Exception
) -> None:
    """One that is no camera's fault always; later ones are failed tries."""
    kept = machine(Opening(NOW_S), Online(NOW_S), required=required)
    kept.begun = False
    fatal = kept.handle(on.Refused(NOW_S, error)).fatal
    assert (fatal is error) == (required or error is not ABSENT)
    later = machine(Opening(NOW_S), Online(NOW_S), required=required)
    assert later.handle(on.Refused(NOW_S, error)).fatal is None
    assert isinstance(later.health, Outage)
    assert isinstance(later.health.error, CameraError)


def test_another_reason_is_a_change_but_no_news() -> None:
    """The same one is none."""
    kept = machine(Opening(NOW_S), HEALTHS["recovering"])
    changes = kept.handle(on.Refused(NOW_S + 2.04, ABSENT)).changes
    assert changes == (Change("recovering", ABSENT, 2.0, 1, news=False),)
    kept.phase = Opening(NOW_S)
    assert kept.handle(on.Refused(NOW_S, ABSENT)).changes == ()


def test_another_mode_is_reported_after_the_return() -> None:
    """Both with one frame; and what the camera gives is remembered."""
    kept = machine(Open(), HEALTHS["failed"])
    first, second = kept.handle(on.Received(NOW_S, FILM)).changes
    assert (first.state, first.error, first.reopens) == ("online", None, 1)
    assert second.error is not None
    assert (second.state, second.error.reason) == ("online", "changed")
    assert kept.mode is FILM


def test_only_tries_that_count_are_counted() -> None:
    """Not the one after a change of settings."""
    for counts in (True, False):
        kept = machine(Waiting(NOW_S, counts), HEALTHS["recovering"])
        kept.handle(on.Due(NOW_S))
        assert kept.reopens_total == counts
        assert isinstance(kept.health, Outage)
        assert kept.health.reopens == 1 + counts


def test_the_drawing_is_the_table() -> None:
    """The head of the file lists what the code does."""
    text = machines.__doc__ or ""
    drawn: dict[str, dict[str, str]] = {}
    for rows in (
        [line[:35] for line in text.splitlines()],
        [line[36:] for line in text.splitlines()],
    ):
        last = ""
        for line in rows:
            words = re.split(r"\s{2,}", line.strip())
            name, event, then = ([last, *words] if len(words) == 2 else [*words, "", ""])[:3]
            if name in (*map(str.lower, map(kind, PHASES)), *HEALTH) and then in text.split():
                last = name
                for one in event.split(", "):
                    drawn.setdefault(name, {})[one] = then
    table = {
        kind(phase).lower(): {
            kind(event): kind(then).lower()
            for event, then in row.items()
            if event is not on.Unattended
        }
        for phase, row in PHASES.items()
    }
    table |= {
        health: {kind(event): then for event, then in row.items()} for health, row in HEALTH.items()
    }
    assert drawn == table


def kind(record: type) -> str:
    """Return the name of a record."""
    return record.__name__


PASSED = st.floats(0.0, 200.0)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([*EVENTS]), PASSED), max_size=60),
    st.booleans(),
    st.integers(0, 3),
)
def test_no_sequence_of_events_breaks_it(
    steps: list[tuple[type[Event], float]], required: bool, max_reopens: int
) -> None:
    """Changes alternate, `failed` is not left without a frame, and only the rules end it."""
    kept = Machine(Policy(required=required, max_reopens=max_reopens), NOW_S, lambda: 0.5)
    now_s, states = NOW_S, ["online"]
    for event, passed_s in steps:
        if event in (on.Due, on.Spent, on.Hung) or event not in PHASES[type(kept.phase)]:
            continue  # those follow from others
        now_s += passed_s
        rest = [getattr(EVENTS[event], one.name) for one in fields(event)[1:]]
        outcome = kept.handle(event(now_s, *rest))
        for change in outcome.changes:
            if change.news and change.error is not None and change.error.reason == "changed":
                continue
            assert (change.state != states[-1]) == change.news
            assert (change.state, states[-1]) != ("recovering", "failed")
            assert change.outage_s >= 0.0
            states.append(change.state)
        assert kept.health.state == states[-1]
        assert isinstance(kept.health, Online) == (kept.health.state == "online")
        if outcome.fatal is not None:
            assert required or isinstance(kept.phase, Closing)
            return
        assert not (required and kept.health.state == "failed")


def test_a_camera_that_is_away_for_a_year_takes_no_memory() -> None:
    """Every try counts; no more of them are remembered than it takes to fail."""
    kept = machine(PHASE[Opening], HEALTHS["online"], max_reopens=3)
    sizes = set()
    for number in range(1000):
        kept.handle(on.Refused(NOW_S + 15.0 * number, ABSENT))
        kept.handle(on.Waited(NOW_S + 15.0 * number + 15.0))
        sizes.add(sum(len(value) for value in vars(kept).values() if isinstance(value, deque)))
    assert max(sizes) == 3
    assert kept.reopens_total == 1000
