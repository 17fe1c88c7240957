"""The window and the hysteresis: labels come late enough to be true, and do not flicker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import SmoothingConfig
from edge.frames import LabelChange, Prediction
from edge.pipeline.smoothing import Smoother

LABELS = ("cat", "dog")
CAT, DOG, UNSURE = (0.95, 0.05), (0.05, 0.95), (0.5, 0.5)
FRAME_NS = 33_000_000


def feed(
    smoother: Smoother, scores: Sequence[tuple[float, ...]], first: int = 0
) -> tuple[list[Prediction], list[LabelChange]]:
    """Give one row a frame; return the predictions, and the changes they made."""
    predictions, changes = [], []
    for index, row in enumerate(scores, first):
        prediction, change = smoother.update(np.asarray(row, np.float32), index, index * FRAME_NS)
        predictions.append(prediction)
        if change:
            changes.append(change)
    return predictions, changes


def test_partial_until_the_window_is_full() -> None:
    """No label comes before the window has seen enough."""
    predictions, changes = feed(
        Smoother(LABELS, SmoothingConfig(window=5, hold_frames=1)), [CAT] * 6
    )
    assert [p.partial for p in predictions] == [True] * 4 + [False] * 2
    assert [p.label for p in predictions] == [None] * 4 + ["cat"] * 2
    assert [(c.before, c.after) for c in changes] == [(None, "cat")]


def test_a_change_is_told_once_after_the_window_and_the_hold() -> None:
    """Ten frames, enter 0.6: seven dogs tip the mean, and it must hold for three frames."""
    smoother = Smoother(LABELS, SmoothingConfig(window=10, enter=0.6, exit=0.4, hold_frames=3))
    feed(smoother, [CAT] * 20)
    predictions, changes = feed(smoother, [DOG] * 20, first=20)
    assert [(c.before, c.after) for c in changes] == [("cat", "dog")]
    assert changes[0].captured_ns == (20 + 6 + 2) * FRAME_NS
    assert predictions[-1].since_ns == changes[0].captured_ns
    assert changes[0].before_ns == changes[0].captured_ns - 11 * FRAME_NS


def test_a_short_glimpse_changes_nothing() -> None:
    """Three wrong frames among many."""
    smoother = Smoother(LABELS, SmoothingConfig())
    feed(smoother, [CAT] * 20)
    assert feed(smoother, [DOG] * 3 + [CAT] * 30)[1] == []


def test_scores_between_exit_and_enter_keep_the_label() -> None:
    """The label neither goes nor changes while nothing is clear."""
    smoother = Smoother(LABELS, SmoothingConfig())
    feed(smoother, [CAT] * 20)
    predictions, changes = feed(smoother, [UNSURE, (0.45, 0.55), (0.55, 0.45)] * 30)
    assert changes == []
    assert predictions[-1].label == "cat"
    assert predictions[-1].score == pytest.approx(0.5, abs=0.02)


def test_a_label_goes_when_nothing_takes_its_place() -> None:
    """With more than two labels nothing may be certain."""
    smoother = Smoother(("a", "b", "c"), SmoothingConfig(window=5, hold_frames=1))
    feed(smoother, [(0.9, 0.05, 0.05)] * 5)
    predictions, changes = feed(smoother, [(0.34, 0.33, 0.33)] * 5)
    assert [(c.before, c.after) for c in changes] == [("a", None)]
    assert predictions[-1].label is None
    assert predictions[-1].score == pytest.approx(0.34, abs=0.01)


def test_where_labels_exclude_nothing_the_first_stays_until_it_goes() -> None:
    """Two labels that are both likely take no turns: one must fall below `exit` first."""
    smoother = Smoother(("a", "b"), SmoothingConfig(window=2, hold_frames=1))
    feed(smoother, [(0.9, 0.8)] * 5)
    assert feed(smoother, [(0.8, 0.9), (0.9, 0.8)] * 9)[1] == []
    changes = feed(smoother, [(0.1, 0.9)] * 5)[1]
    assert [(c.before, c.after) for c in changes] == [("a", "b")]


def test_exponential_follows_its_formula() -> None:
    """alpha = 2 / (window + 1), begun with the first scores."""
    smoother = Smoother(LABELS, SmoothingConfig(window=3, method="exponential"))
    predictions, _ = feed(smoother, [(1.0, 0.0), (0.0, 1.0), (0.0, 1.0)])
    assert [p.scores[0] for p in predictions] == [1.0, 0.5, 0.25]


def test_after_a_gap_only_new_frames_count_and_the_label_stays_till_they_say_otherwise() -> None:
    """An outage of the camera is no change; what it sees afterwards may be one."""
    smoother = Smoother(LABELS, SmoothingConfig(window=3, hold_frames=1))
    _, changes = feed(smoother, [CAT] * 9)
    smoother.refill()
    predictions, more = feed(smoother, [DOG] * 3)
    assert [p.partial for p in predictions] == [True, True, False]
    assert [p.label for p in predictions] == ["cat", "cat", "dog"]
    assert predictions[0].scores == pytest.approx(DOG)
    assert [(c.before, c.after) for c in changes + more] == [(None, "cat"), ("cat", "dog")]


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=120),
    st.integers(1, 12),
    st.integers(1, 5),
)
def test_the_mean_is_the_mean_and_changes_link_up(
    values: list[float], window: int, hold_frames: int
) -> None:
    """Smoothed scores equal the plain mean; every change begins at the label before it; two
    changes are at least ``hold_frames`` apart.
    """
    smoother = Smoother(LABELS, SmoothingConfig(window=window, hold_frames=hold_frames))
    rows = [(1 - value, value) for value in values]
    predictions, changes = feed(smoother, list(rows))
    for index, prediction in enumerate(predictions):
        plain = np.mean(rows[max(0, index - window + 1) : index + 1], axis=0)
        assert prediction.scores == pytest.approx(tuple(plain), abs=1e-5)
    label = None
    for earlier, change in zip([None, *changes], changes, strict=False):
        assert change.before == label
        label = change.after
        if earlier:
            assert change.captured_ns - earlier.captured_ns >= hold_frames * FRAME_NS
    assert predictions[-1].label == label
