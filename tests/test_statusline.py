"""The line that systemctl shows says what is seen, or why nothing is."""

from __future__ import annotations

import dataclasses
from typing import Literal

import pytest

from edge.contract import GovernorFigures, StageTimes
from edge.daemon.statusline import label, line
from edge.frames import Prediction
from tests.figures import figures

FIGURES = figures(fps=29.97, stages_ms={"pipeline": StageTimes(1.0, 2.0, 12.34, 20.0)})
DOG = Prediction(1, 9, "dog", 0.93, (0.07, 0.93), 9, False)


@pytest.mark.parametrize(
    ("last", "scores", "shown"),
    [
        (DOG, True, "dog 0.93"),
        (None, True, "uncertain"),
        (DOG, False, "no scores"),
    ],
)
def test_a_label_is_shown_while_it_is_known(
    last: Prediction | None, scores: bool, shown: str
) -> None:
    """Not the last one there was, where the model gives none any more."""
    assert label(last, scores) == shown


@pytest.mark.parametrize(
    ("sees", "camera", "begin"),
    [
        ("dog 0.93", "online", "dog 0.93"),
        ("dog 0.93", "recovering", "camera recovering"),
        ("paused", "recovering", "paused"),
    ],
)
def test_a_camera_that_is_away_is_named_first(sees: str, camera: str, begin: str) -> None:
    """Unless nothing is looked at anyway."""
    shown = line(FIGURES, sees, camera, broker=True)
    assert shown == f"{begin} · 30.0 fps · p99 12.3 ms · 52 °C · broker up"


def test_what_the_machine_lacks_is_left_out() -> None:
    """No temperature, no frame yet, no broker."""
    bare = figures(fps=0.0, stages_ms={}, temperature_celsius=None)
    assert line(bare, "x", "online", broker=False) == "x · 0.0 fps · broker away"


def test_a_governor_says_how_much_is_classified_and_why() -> None:
    """Only while it is less than all."""

    def governed(share: float, reason: Literal["", "temperature"]) -> str:
        governor = GovernorFigures(
            frames_share=share, reason=reason, lowest=False, machine_cpu_share=None, skipped_total=1
        )
        parts = {"governor": governor}
        return line(dataclasses.replace(FIGURES, parts=parts), "x", "online", broker=True)

    assert governed(0.6, "temperature").endswith("52 °C · classifies 60%: temperature · broker up")
    assert governed(1.0, "").endswith("52 °C · broker up")
