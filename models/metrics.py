"""Accuracy, intervals, AUC, calibration and confusion, from scores and true classes. Pure.

scores   (N, C) float32, a probability for each of C classes
classes  (N,) int64, the true ones
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
Classes = NDArray[np.int64]
Z95: Final = 1.959964
BINS: Final = 15
"""Bins of the calibration error."""


def figures(scores: Scores, classes: Classes) -> dict[str, Any]:
    """Return images, correct, accuracy with its 95 % Wilson interval, AUC and ECE."""
    correct = int((scores.argmax(axis=1) == classes).sum())
    low, high = wilson(correct, len(classes))
    return {
        "images": len(classes),
        "correct": correct,
        "accuracy": round(correct / max(1, len(classes)), 4),
        "low95": round(low, 4),
        "high95": round(high, 4),
        "auc": round(auc(scores, classes), 4),
        "ece": round(calibration_error(scores, classes), 4),
    }


def wilson(correct: int, images: int) -> tuple[float, float]:
    """Return the 95 % interval of a share. Source: Wilson 1927, JASA 22:209."""
    if not images:
        return 0.0, 1.0
    share, z2 = correct / images, Z95 * Z95
    middle = share + z2 / (2 * images)
    half = Z95 * math.sqrt(share * (1 - share) / images + z2 / (4 * images * images))
    return (middle - half) / (1 + z2 / images), (middle + half) / (1 + z2 / images)


def confusion(scores: Scores, classes: Classes) -> NDArray[np.int64]:
    """Return (C, C) counts: row the true class, column the one with the highest score."""
    table = np.zeros((scores.shape[1],) * 2, np.int64)
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


def threshold(scores: Scores, classes: Classes) -> float:
    """Return the threshold for the second of two classes that makes most pictures right.

    Of equally good ones the one nearest to 0.5. Fit it on validation pictures only.
    """
    second = np.sort(np.unique(scores[:, 1]))
    between = np.concatenate([[0.5], (second[1:] + second[:-1]) / 2])
    right = ((scores[:, 1][:, None] >= between) == (classes == 1)[:, None]).sum(axis=0)
    best = between[right == right.max()]
    return float(best[np.abs(best - 0.5).argmin()])
