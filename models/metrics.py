"""Accuracy, intervals, false alarms, AUC, calibration, confusion, from scores and classes. Pure.

scores      (N, C) float32, a probability for each of C classes
classes     (N,) int64, the true ones; C and above: a class that the model does not have
background  numbers of the classes that mean that nothing of interest is there; the pictures of the
            other classes show a subject
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
Classes = NDArray[np.int64]
Z95: Final = 1.959964
BINS: Final = 15
"""Bins of the calibration error."""
SURE: Final = 0.6
"""The best score from which a subject counts as called."""
ROUNDING: Final = 1e-6
"""What float32 loses of a score, so that 0.6 is at least 0.6."""


def figures(scores: Scores, classes: Classes, background: Sequence[int] = ()) -> dict[str, Any]:
    """Return counts and shares; those that the pictures do not allow are left out.

    images                          pictures
    correct, accuracy, low95, high95, auc, ece
                                    where the model has every class that the pictures have; the
                                    interval is Wilson's, of 95 %; auc where there are two classes
    background_images, false_alarms
                                    background pictures, and those called a subject (``called``)
    subject_images, called_background
                                    pictures of a subject, and those whose best class is background
    either_said, either_right       pictures of a subject whose best class is some subject; the
                                    right one
    """
    result: dict[str, Any] = {"images": len(classes)}
    best, right = scores.argmax(axis=1), scores.argmax(axis=1) == classes
    if (classes < scores.shape[1]).all():
        low, high = wilson(int(right.sum()), len(classes))
        result |= {
            "correct": int(right.sum()),
            "accuracy": round(int(right.sum()) / max(1, len(classes)), 4),
            "low95": round(low, 4),
            "high95": round(high, 4),
            "auc": round(auc(scores, classes), 4),
            "ece": round(calibration_error(scores, classes), 4),
        }
        if math.isnan(result["auc"]):
            del result["auc"]
    empty = np.isin(classes, background)
    if empty.any():
        result["background_images"] = int(empty.sum())
        result["false_alarms"] = int((empty & called(scores, background)).sum())
    if background and not empty.all():
        result["subject_images"] = int((~empty).sum())
        either = ~empty & ~np.isin(best, background)
        if min(background) < scores.shape[1]:
            result["called_background"] = int((~empty & ~either).sum())
        result["either_said"] = int(either.sum())
        result["either_right"] = int((either & right).sum())
    return result


def called(scores: Scores, background: Sequence[int], sure: float = SURE) -> NDArray[np.bool_]:
    """Return whether a subject has the best score, and one of at least ``sure``, (N,)."""
    subject = ~np.isin(scores.argmax(axis=1), background)
    return np.asarray(subject & (scores.max(axis=1) >= sure - ROUNDING), np.bool_)


def wilson(correct: int, images: int) -> tuple[float, float]:
    """Return the 95 % interval of a share. Source: Wilson 1927, JASA 22:209."""
    if not images:
        return 0.0, 1.0
    share, z2 = correct / images, Z95 * Z95
    middle = share + z2 / (2 * images)
    half = Z95 * math.sqrt(share * (1 - share) / images + z2 / (4 * images * images))
    return (middle - half) / (1 + z2 / images), (middle + half) / (1 + z2 / images)


def confusion(scores: Scores, classes: Classes) -> NDArray[np.int64]:
    """Return counts: row the true class, column the one with the highest score.

    (C, C); with a row more for each class that the model does not have.
    """
    rows = max(scores.shape[1], int(classes.max(initial=0)) + 1)
    table = np.zeros((rows, scores.shape[1]), np.int64)
    np.add.at(table, (classes, scores.argmax(axis=1)), 1)
    return table


def auc(scores: Scores, classes: Classes) -> float:
    """Return the area under the ROC curve, the mean of each class against the rest.

    A class with no picture, or with all of them, has no area; NaN where no class has one.
    Source: Mann, Whitney 1947; equal scores count half.
    """
    areas = []
    for label in range(scores.shape[1]):
        mine = classes == label
        positive, negative = int(mine.sum()), int((~mine).sum())
        if positive and negative:
            _, place, count = np.unique(scores[:, label], return_inverse=True, return_counts=True)
            rank = (np.cumsum(count) - (count - 1) / 2)[place]
            wins = rank[mine].sum() - positive * (positive + 1) / 2
            areas.append(wins / (positive * negative))
    return float(np.mean(areas)) if areas else math.nan


def calibration_error(scores: Scores, classes: Classes) -> float:
    """Return the expected calibration error: best score against the share that is right.

    Source: Guo et al. 2017, equal bins of the best score.
    """
    best = scores.max(axis=1)
    right = scores.argmax(axis=1) == classes
    bins = np.minimum((best * BINS).astype(np.int64), BINS - 1)
    total = np.bincount(bins, minlength=BINS)
    gap = np.abs(np.bincount(bins, best, BINS) - np.bincount(bins, right, BINS))
    return float(gap.sum() / max(1, total.sum()))
