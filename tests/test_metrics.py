"""Figures of merit against values worked by hand."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from models import evaluate, metrics
from models.folders import Sample
from models.judge import Judged


def two(*second: float) -> metrics.Scores:
    """Return scores of two classes from those of the second."""
    column = np.array(second, np.float32)
    return np.stack([1 - column, column], axis=1)


def test_the_interval_is_wilsons() -> None:
    """Against the values of Wilson's formula worked by hand for 95 of 100."""
    low, high = metrics.wilson(95, 100)
    assert (round(low, 4), round(high, 4)) == (0.8882, 0.9785)
    assert metrics.wilson(0, 0) == (0.0, 1.0)
    assert metrics.wilson(10, 10)[1] == pytest.approx(1.0)


def test_confusion_has_the_truth_in_its_rows() -> None:
    """Three of class 0, one of them taken for class 1."""
    table = metrics.confusion(two(0.1, 0.9, 0.2, 0.8), np.array([0, 0, 0, 1]))
    assert table.tolist() == [[2, 1], [0, 1]]


def test_auc_counts_pairs() -> None:
    """Three of four pairs are in order, an equal one counts half; one class alone has none."""
    classes = np.array([0, 1, 0, 1])
    assert metrics.auc(two(0.1, 0.3, 0.4, 0.8), classes) == pytest.approx(0.75)
    assert metrics.auc(two(0.1, 0.4, 0.4, 0.8), classes) == pytest.approx(0.875)
    assert math.isnan(metrics.auc(two(0.1, 0.4), np.array([1, 1])))
    three = np.eye(3, dtype=np.float32)
    assert metrics.auc(three, np.array([0, 1, 2])) == pytest.approx(1.0)


def test_calibration_is_the_gap_between_sure_and_right() -> None:
    """Always 0.9 sure and right in half: 0.4 off; sure and right: none."""
    assert metrics.calibration_error(two(0.9, 0.9), np.array([1, 0])) == pytest.approx(0.4)
    assert metrics.calibration_error(two(1.0, 0.0), np.array([1, 0])) == pytest.approx(0.0)


def test_the_contact_sheet_shows_what_is_wrong(tmp_path: Path) -> None:
    """One of two is wrong: its picture is the first tile, the rest is empty."""
    for name, level in (("cat", 250), ("dog", 120)):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), np.full((40, 40, 3), level, np.uint8))
    samples = (Sample(tmp_path / "cat" / "a.png", 0), Sample(tmp_path / "dog" / "a.png", 1))
    judged = Judged(samples, two(0.2, 0.1))
    assert evaluate.contact_sheet(judged, tmp_path / "worst.png") == 1
    sheet = cv2.imread(str(tmp_path / "worst.png"))
    assert sheet is not None
    assert sheet[20, 20].tolist() == [120] * 3
    assert sheet[20, evaluate.TILE + 20].tolist() == [32] * 3
