"""Grouped cross-validation: how strong the penalty must be, and how good the result will be.

Rule 1: no group is on both sides.
Rule 2: classes count alike, however many pictures each has.
Rule 3: everything is deterministic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.learn import solver
from edge.learn.solver import Array, Fit, Points

Classes = NDArray[np.int64]
STRENGTHS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""To choose from: C of ``solver.fit``, for features of size 1."""
FOLDS: Final = 5
TURNED_MAX: Final = 512
"""Pictures whose features are turned; with more, that takes more memory than it saves time."""
PROBABLE: Final = 1e-6
"""Least probability that counts in a loss."""
SURE: Final = 1.96
"""Standard deviations of a 95 % interval."""
OVERLAP: Final = 1 + FOLDS / (FOLDS - 1)
"""By so much the variance of folds that share their training pictures is underestimated, at most.
Source: Nadeau, Bengio 2003. Measured on 1,981 photographs, 40 to 60 draws of 10 to 100 a class by
two backbones: the truth is inside in 90 to 100 % of the draws with it, in 80 to 98 % without."""


@dataclass(frozen=True, slots=True)
class Basis:
    """Features in their own coordinates: x = ((features - mean) / scale) @ axes.

    One scale for all features: with a few pictures, their own deviations say little. Turning them
    changes no fit, only its time; with many pictures it saves none. axes: None where not turned.
    """

    mean: NDArray[np.float32]
    scale: float
    axes: NDArray[np.float32] | None

    def head(self, fit: Fit) -> Fit:
        """Return the fit for the features themselves."""
        turned = fit.weights if self.axes is None else self.axes.astype(np.float64) @ fit.weights
        weights = turned / self.scale
        return Fit(weights, fit.bias - self.mean @ weights)

    def restore(self, x: Points) -> None:
        """Make the features of x again, where ``basis`` has overwritten them."""
        if self.axes is None:
            x *= self.scale
            x += self.mean


def basis(features: NDArray[np.float32]) -> tuple[Basis, Points]:
    """Return the basis of the features (N, F), and the same in it.

    Of few pictures (N, N) float64. Of more than ``TURNED_MAX`` the features themselves, which are
    overwritten: a copy would take as much memory again.
    """
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    square = sum(float(np.square(row - mean).sum(dtype=np.float64)) for row in features)
    scale = max(math.sqrt(square / features.size), 1e-12)
    if len(features) > min(TURNED_MAX, features.shape[1]):
        features -= mean
        features /= np.float32(scale)
        return Basis(mean, scale, None), features
    centred = (features - mean).astype(np.float64) / scale
    left, values, axes = np.linalg.svd(centred, full_matrices=False)
    return Basis(mean, scale, axes.T.astype(np.float32)), left * values


def balance(classes: Classes, labels_total: int) -> Array:
    """Return the weight of each sample, (N,), mean 1: every class counts the same."""
    counts = np.bincount(classes, minlength=labels_total)
    there = max(1, int((counts > 0).sum()))
    return np.asarray(len(classes) / there / np.maximum(counts, 1)[classes])


def folds(classes: Classes, groups: Classes, labels_total: int) -> Classes:
    """Return the fold of each sample, (N,): groups stay whole, classes are spread evenly."""
    number = min(FOLDS, len(np.unique(groups)))
    counts = np.zeros((number, labels_total))
    result = np.zeros(len(classes), np.int64)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    share = np.maximum(np.bincount(classes, minlength=labels_total), 1)
    for mine in sorted(members, key=lambda m: (-len(m), int(m[0]))):
        own = np.bincount(classes[mine], minlength=labels_total)
        crowded = (((counts + own) / share) ** 2).sum(1) - ((counts / share) ** 2).sum(1)
        fold = int(np.lexsort((np.arange(number), counts.sum(1), crowded))[0])
        result[mine], counts[fold] = fold, counts[fold] + own
    return result


@dataclass(frozen=True, slots=True)
class Validated:
    """strength: the best of STRENGTHS; scores: (N, C), each by a fit without the sample's group."""

    strength: float
    scores: Array


def validate(
    x: Points,
    classes: Classes,
    fold: Classes,
    labels_total: int,
    tick: Callable[[], None] = lambda: None,
    strengths: tuple[float, ...] = STRENGTHS,
) -> Validated:
    """Return the strength with the lowest loss in cross-validation, and its scores.

    tick  called after every fold
    """
    scores = np.zeros((len(strengths), len(classes), labels_total), np.float32)
    for number in range(int(fold.max()) + 1):
        train, test = fold != number, fold == number
        start: Fit | None = None
        often = balance(classes[train], labels_total)
        for place, strength in enumerate(strengths):
            start = solver.fit(x[train], classes[train], labels_total, strength, often, start)
            scores[place, test] = start.scores(x[test])
        tick()
    own = scores[:, np.arange(len(classes)), classes].astype(np.float64)
    losses = -(np.log(np.maximum(own, PROBABLE)) * balance(classes, labels_total)).mean(axis=1)
    best = int(losses.argmin())
    return Validated(strengths[best], scores[best].astype(np.float64))


def accuracy(right: NDArray[np.bool_], classes: Classes) -> float:
    """Return the share that is right, each class counting the same."""
    return float(np.mean([right[classes == one].mean() for one in np.unique(classes)]))


def interval(share: float, groups: Classes) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share.

    Pictures of one group are no independent trials: what counts is the effective number of groups,
    (sum n)^2 / sum n^2 of their sizes n, less OVERLAP. Source: Wilson 1927; Kish 1965.
    """
    sizes = np.bincount(groups).astype(np.float64)
    count = float(sizes.sum() ** 2 / (sizes**2).sum()) / OVERLAP
    square = SURE**2 / count
    middle = (share + square / 2) / (1 + square)
    half = math.sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)
