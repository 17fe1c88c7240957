"""Drift: the index and the windows by hand, when it begins and ends, and what is made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from edge import baseline
from edge.baseline import FIGURES, REASONS, Baseline
from edge.baseline.figures import BLURRED, BRIGHTER, COLOURS, DARKER, STRANGE, UNSURE
from edge.config import DriftConfig
from edge.contract import EventType
from edge.frames import Classified, Frame, FrameTimes, InvalidScores, Prediction
from edge.observers.drift import KEEP_NS, Drift
from edge.observers.drift_learning import ROWS, Learning
from edge.observers.drift_reasons import SETTLED, Notice, Reasons
from edge.observers.drift_window import LEAST, SAMPLES, Range, Window, index

F4 = np.float32
Floats = NDArray[np.float32]
FEATURES = 4
NAMES = [figure.name for figure in FIGURES]
USUAL = {
    "brightness": 0.5,
    "contrast": 0.2,
    "sharpness": 0.6,
    "warmth": 0.0,
    "tint": 0.0,
    "chroma": 0.2,
    "margin": 0.9,
    "entropy": 0.1,
}
S = 10**9
PERIOD_NS = 600 * S // SAMPLES
"""Between two samples, with the default window."""


def taught(features: bool = True) -> Baseline:
    """Return a baseline around the usual figures."""
    random = np.random.default_rng(1)
    figures = np.array([*USUAL.values()]) + random.normal(0, 0.02, (500, 8))
    rows = random.normal(3, 1, (500, FEATURES)).astype(F4)
    return baseline.build(figures.astype(F4), rows if features else None)


class Scene:
    """What measures frames here: the usual figures, but for changes."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(2)
        self.changes: Mapping[str, float] = {}
        self.off = 0.0

    def figures(self, scores: Floats, out: Floats, /) -> None:
        """Write them, with some noise."""
        values = {**USUAL, **self.changes}
        out[:] = [*values.values()] + self._random.normal(0, 0.01, 8)

    def features(self) -> Floats:
        """Return some that are ``off`` by so many standard deviations."""
        return (self._random.normal(3, 1, FEATURES) + self.off).astype(F4)


class Watched:
    """An observer with a clock of the test's own, and what came of it."""

    def __init__(self, given: Baseline | Learning | None = None, **config: Any) -> None:
        self.scene, self.now_ns, self.frames = Scene(), 10**15, 0
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.reported: list[str] = []
        self.kept: list[str] = []
        self.drift = Drift(
            replace(DriftConfig(), **config),
            self.scene,
            self,
            taught() if given is None else given,
            self.reported.append,
            lambda reason, _: self.kept.append(reason),
        )

    def log(self, type: EventType, line: str) -> None:
        """Take a line."""

    def add(self, type: EventType, line: str, **evidence: float | int | str) -> None:
        """Take an event."""
        self.events.append((f"{type}: {evidence['reason']}", {"line": line, **evidence}))

    def frame(self, prediction: Prediction | InvalidScores | None = None) -> None:
        """Show one frame."""
        self.frames += 1
        pixels = np.zeros((2, 2, 3), np.uint8)
        frame = Frame(self.frames, self.now_ns, pixels, "bgr")
        usual = Prediction(self.frames, self.now_ns, "a", 0.9, (0.9, 0.1), 0, False)
        scores = np.array([0.9, 0.1], F4)
        times = FrameTimes(1, 1, 1)
        seen = Classified(frame, scores, prediction or usual, None, None, times, self.now_ns)
        self.drift.classified(seen)

    def show(
        self, seconds: float, off: float = 0.0, every_s: float = 2.0, **changes: float
    ) -> None:
        """Show frames for so long."""
        self.scene.changes, self.scene.off = changes, off
        for _ in range(round(seconds / every_s)):
            self.now_ns += round(every_s * S)
            self.frame()

    @property
    def names(self) -> list[str]:
        """The events, by type and reason."""
        return [name for name, _ in self.events]


@pytest.mark.parametrize(
    ("actual", "expected", "value"),
    [
        (0.05, 0.05, 0.0),
        (0.5, 0.05, 0.45 * (math.log(0.5 / 0.05) - math.log(0.5 / 0.95))),
        (0.2, 0.1, 0.1 * (math.log(2) - math.log(0.8 / 0.9))),
        (1.0, 0.05, (0.999 - 0.05) * (math.log(0.999 / 0.05) - math.log(0.001 / 0.95))),
    ],
)
def test_the_index_is_the_one_worked_out_by_hand(
    actual: float, expected: float, value: float
) -> None:
    """Over two bins; all frames in one bin have a finite one."""
    assert index(np.array(actual), np.array(expected)) == pytest.approx(value)


def test_the_usual_limits_are_shares_of_a_window() -> None:
    """0.25 is 22 % outside, where 5 % are expected at the least, and 0.1 is 14 %."""
    window = Window(Range(np.array([0], F4), np.array([1], F4), np.zeros((1, 2), F4)))
    found = {}
    for outside in range(0, 100, 2):
        window.clear()
        for number in range(SAMPLES):
            window.add(np.array([2 if number % 100 < outside else 0.5], F4))
        below, above = window.psi()[0]
        assert below == 0
        found[outside] = above
    assert found[0] == found[4] == 0
    assert found[12] < 0.1 < found[16] < found[20] < 0.25 < found[22]


def test_a_window_forgets_its_oldest_sample_and_says_nothing_of_few() -> None:
    """A ring; half of it is enough. The ends of the range are inside."""
    window = Window(Range(np.array([0], F4), np.array([1], F4), np.zeros((1, 2), F4)))
    for number in range(SAMPLES):
        assert window.ready == (number >= LEAST)
        window.add(np.array([-1], F4))
    assert window.outside().tolist() == [[1, 0]]
    for value in (0, 1, 0.5):
        window.add(np.array([value], F4))
    assert window.outside()[0, 0] == pytest.approx(1 - 3 / SAMPLES)
    window.clear()
    assert not window.ready


def run(reasons: Reasons, now_s: float, samples: int = SETTLED, **indices: float) -> list[Notice]:
    """Give samples a second apart; return the events."""
    given = {reason: indices.get(name, 0.0) for name, reason in NAMED.items()}
    notices = [reasons.update(given, round((now_s + n) * S)) for n in range(samples)]
    return [notice for notice in notices if notice is not None]


NAMED = {"dark": DARKER, "blur": BLURRED, "unsure": UNSURE}


def test_a_reason_begins_at_one_index_and_ends_below_another() -> None:
    """Between them it stays as it is; it must hold for some samples to be an event."""
    reasons = Reasons(0.25, 0.1, 3600 * S)
    assert run(reasons, 0, dark=0.24) == []
    assert run(reasons, 20, SETTLED - 1, dark=0.25) == []
    assert run(reasons, 50, dark=0.11) == [Notice("drift_began", DARKER)]
    assert run(reasons, 80, dark=0.1) == []
    assert reasons.leading == DARKER
    ended = run(reasons, 100, dark=0.09)
    assert [(notice.type, notice.reason) for notice in ended] == [("drift_ended", DARKER)]
    assert ended[0].lasted_s == pytest.approx(100 + SETTLED - 1 - 50)
    assert run(reasons, 200) == []


def test_a_cause_comes_before_its_consequences() -> None:
    """By night there is one event; at dawn, where the lens is still out of focus, another."""
    reasons = Reasons(0.25, 0.1, 3600 * S)
    assert run(reasons, 0, dark=1, blur=3, unsure=2) == [Notice("drift_began", DARKER)]
    assert run(reasons, 100, blur=3, unsure=2) == [Notice("drift_began", BLURRED)]
    assert run(reasons, 200, unsure=2) == [Notice("drift_began", UNSURE)]
    ended = run(reasons, 300)
    assert [(notice.reason, notice.lasted_s) for notice in ended] == [(UNSURE, 300)]


def test_a_reason_is_no_event_again_within_the_interval() -> None:
    """Off and on every two minutes for an hour: one pair of events; the others are counted."""
    reasons, events = Reasons(0.25, 0.1, 3600 * S), []
    for minute in range(0, 60, 4):
        events += run(reasons, minute * 60, 120, dark=1)
        events += run(reasons, minute * 60 + 120, 120)
    assert [notice.type for notice in events] == ["drift_began", "drift_ended"]
    assert reasons.unsaid_total == 14
    assert [one.type for one in run(reasons, 3601, 20, dark=1)] == ["drift_began"]


def test_what_lasts_beyond_the_interval_becomes_an_event() -> None:
    """It began too early to be one, and is still there an hour after the one before."""
    reasons = Reasons(0.25, 0.1, 100 * S)
    assert len(run(reasons, 0, dark=1)) == 1
    assert len(run(reasons, 20)) == 1
    assert run(reasons, 50, 50, dark=1) == []
    assert [one.type for one in run(reasons, 110, 60, dark=1)] == ["drift_began"]
    assert reasons.unsaid_total == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"brightness": 0.1}, DARKER),
        ({"brightness": 0.9}, BRIGHTER),
        ({"contrast": 0.05}, "less contrast than anything it was taught"),
        ({"sharpness": 0.1}, BLURRED),
        ({"warmth": 0.3}, COLOURS),
        ({"warmth": -0.3}, COLOURS),
        ({"tint": 0.3}, COLOURS),
        ({"chroma": -0.1}, COLOURS),
        ({"margin": 0.3}, UNSURE),
        ({"entropy": 0.6}, UNSURE),
        ({"off": 4.0}, STRANGE),
    ],
)
def test_each_change_has_its_reason(changes: dict[str, float], reason: str) -> None:
    """It begins, is reported once with its figures, and ends."""
    watched = Watched()
    watched.show(4000)
    assert watched.names == []
    watched.show(4000, **changes)
    assert watched.names == [f"drift_began: {reason}"]
    evidence = watched.events[0][1]
    assert not evidence["taught_low"] <= evidence["now"] <= evidence["taught_high"] or (
        evidence["outside_share"] < 0.5
    )
    assert evidence["outside_share"] > 0.2
    assert evidence["psi"] >= 0.25
    assert evidence["figure"] in evidence["line"]
    figures = watched.drift.figures()
    assert (figures.origin, figures.reason) == ("bundle", reason)
    assert figures.since_s is not None
    assert figures.since_s > 600
    watched.show(4000)
    assert watched.names == [f"drift_began: {reason}", f"drift_ended: {reason}"]
    assert watched.drift.figures().reason == ""
    assert watched.drift.figures().since_s is None
    assert REASONS.index(reason) >= 0


@pytest.mark.parametrize(
    "changes", [{"contrast": 0.5}, {"sharpness": 2.0}, {"margin": 1.0}, {"entropy": -0.2}]
)
def test_a_figure_that_is_better_than_taught_is_no_drift(changes: dict[str, float]) -> None:
    """More contrast, sharper, surer."""
    watched = Watched()
    watched.show(8000, **changes)
    assert watched.names == []


def test_a_cat_that_walks_by_is_no_drift_and_a_lamp_for_minutes_is() -> None:
    """Twenty seconds in five minutes, the whole picture another; and then for three minutes."""
    watched = Watched()
    for _ in range(12):
        watched.show(280)
        watched.show(20, brightness=0.1, sharpness=0.1, margin=0.2, off=5)
    assert watched.names == []
    watched.show(180, brightness=0.95)
    assert watched.names == [f"drift_began: {BRIGHTER}"]


def test_a_day_and_a_night_are_one_pair_of_events() -> None:
    """For a week; with dusk and dawn in between."""
    watched = Watched()
    for _ in range(7):
        watched.show(12 * 3600, every_s=10)
        watched.show(1800, every_s=10, brightness=0.35)
        watched.show(10 * 3600, every_s=10, brightness=0.05, contrast=0.02, margin=0.3, off=5)
        watched.show(1800, every_s=10, brightness=0.35)
    watched.show(3600)
    assert watched.names == [f"drift_began: {DARKER}", f"drift_ended: {DARKER}"] * 7
    assert watched.reported == []


def test_a_light_that_flickers_for_a_day_is_bounded() -> None:
    """Every 15 minutes on and off: no more than one pair an hour."""
    watched = Watched()
    for _ in range(48):
        watched.show(900)
        watched.show(900, brightness=0.95)
    assert 20 <= len(watched.events) <= 48
    assert watched.drift.figures().unsaid_total >= 20


def test_after_a_gap_of_a_window_it_begins_again() -> None:
    """What the camera saw before it went away says nothing of now."""
    watched = Watched()
    watched.show(400, brightness=0.1)
    assert len(watched.events) == 1
    watched.now_ns += 700 * S
    watched.show(200)
    assert watched.drift.figures().psi == {}
    watched.show(200)
    assert watched.names[1:] == [f"drift_ended: {DARKER}"]


def test_frames_that_are_not_due_and_frames_without_scores_are_not_measured() -> None:
    """Of 30 a second one in two seconds; the others cost a comparison."""
    watched = Watched()
    watched.show(20, every_s=1 / 30)
    assert watched.drift.figures().samples == 10
    watched.now_ns += 10 * S
    watched.frame(InvalidScores("nan"))
    assert watched.drift.figures().samples == 10


def test_a_model_on_probation_is_told_of_only_for_what_depends_on_it() -> None:
    """Not of the night; of unsure scores, and of their end."""
    watched = Watched()
    watched.show(4000, brightness=0.1)
    assert watched.reported == []
    watched.show(4000, margin=0.2)
    watched.show(4000)
    assert watched.reported == [UNSURE, ""]


def test_frames_far_outside_are_asked_to_be_kept_at_most_one_a_minute() -> None:
    """Not those that are a little outside, nor unsure ones, which are kept for that."""
    watched = Watched()
    watched.show(1000)
    watched.show(1000, margin=0.1, brightness=0.4)
    assert watched.kept == []
    watched.show(600, brightness=0.0)
    assert 600 * S // KEEP_NS <= len(watched.kept) <= 600 * S // KEEP_NS + 1
    assert set(watched.kept) == {"drift"}
    assert watched.drift.figures().kept_total == len(watched.kept)
    count = len(watched.kept)
    watched.show(600)
    watched.show(120, off=20)
    assert len(watched.kept) == count + 2


def test_what_has_begun_ends_when_nobody_watches_any_more() -> None:
    """At a reload, or a change of the model: an event that has begun has its end."""
    watched = Watched()
    watched.show(1000, brightness=0.1)
    watched.drift.close()
    assert watched.names == [f"drift_began: {DARKER}", f"drift_ended: {DARKER}"]
    quiet = Watched()
    quiet.show(1000)
    quiet.drift.close()
    assert quiet.names == []


def test_a_model_without_a_baseline_learns_what_is_usual() -> None:
    """Spread over the time of learning; then a change is a drift, and what was usual is none."""
    saved: list[Floats] = []
    watched = Watched(Learning(np.empty((0, 8), F4), saved.append), learn_s=86_400.0)
    watched.show(43_200)
    figures = watched.drift.figures()
    assert (figures.origin, figures.psi) == ("learning", {})
    assert figures.learnt_share == pytest.approx(0.5, abs=0.05)
    watched.show(50_000, brightness=0.3)
    figures = watched.drift.figures()
    assert (figures.origin, figures.learnt_share) == ("device", 1.0)
    assert len(saved[-1]) == ROWS
    watched.show(4000)
    watched.show(4000, brightness=0.3)
    assert watched.names == []
    watched.show(4000, brightness=0.1)
    assert watched.names == [f"drift_began: {DARKER}"]


def test_learning_goes_on_where_an_earlier_run_ended() -> None:
    """From what was saved, 25 times on the way."""
    saved: list[Floats] = []
    first = Watched(Learning(np.empty((0, 8), F4), saved.append), learn_s=1000.0)
    first.show(510, every_s=1)
    assert len(saved) == 12
    second = Watched(Learning(saved[-1], saved.append), learn_s=1000.0)
    assert second.drift.figures().learnt_share == pytest.approx(0.48)
    second.show(525, every_s=1)
    assert second.drift.figures().origin == "device"
    assert Watched(Learning(saved[-1], saved.append)).drift.figures().origin == "device"
