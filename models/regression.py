"""L2 multinomial regression on a backbone's features: how good a few pictures a class make it.

features  (N, F) float32
classes   (N,) int64

Needs scikit-learn; knows no pictures and no network.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

Features = NDArray[np.float64]
Classes = NDArray[np.int64]
STRENGTHS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""To choose from: scikit-learn's C, the inverse of the L2 penalty."""
FOLDS: Final = 5
PROBABLE: Final = 1e-9
"""Least probability that counts in a loss."""


def prepare(train: Features, test: Features) -> tuple[Features, Features]:
    """Return both less ``train``'s mean, over its root mean square, turned onto its own axes.

    One scale for all features: with a few pictures their own deviations say little. Turning and
    dropping what ``train`` has no part in changes no fit, only its time.
    """
    mean = train.mean(axis=0)
    train, test = train - mean, test - mean
    scale = max(float(np.sqrt(np.mean(train**2))), 1e-12)
    left, values, axes = np.linalg.svd(train / scale, full_matrices=False)
    return left * values, test / scale @ axes.T


def regression(strength: float) -> Any:
    """Return an unfitted regression, whose next fit begins where the last one ended."""
    return LogisticRegression(C=strength, max_iter=300, tol=1e-3, warm_start=True)


def choose(features: Features, classes: Classes, random: np.random.Generator) -> float:
    """Return the strength with the lowest loss in cross-validation, each class in every fold."""
    fold = np.empty(len(classes), np.int64)
    for label in np.unique(classes):
        mine = np.flatnonzero(classes == label)
        fold[random.permutation(mine)] = np.arange(len(mine)) % FOLDS
    losses = np.zeros(len(STRENGTHS))
    for number in range(FOLDS):
        train, test = prepare(features[fold != number], features[fold == number])
        truth = np.searchsorted(np.unique(classes), classes[fold == number])
        model = regression(STRENGTHS[0])
        for place, strength in enumerate(STRENGTHS):
            model.set_params(C=strength).fit(train, classes[fold != number])
            right = model.predict_proba(test)[np.arange(len(test)), truth]
            losses[place] -= np.log(np.maximum(right, PROBABLE)).sum()
    return STRENGTHS[int(losses.argmin())]


def accuracy(
    train: Features, classes: Classes, test: Features, truth: Classes, strength: float
) -> float:
    """Return the share of ``test`` that is right, each class counting the same."""
    train, test = prepare(train, test)
    said = regression(strength).fit(train, classes).predict(test)
    return float(np.mean([np.mean(said[truth == one] == one) for one in np.unique(truth)]))


def draw(
    pool: list[NDArray[np.int64]], each: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of ``each`` pictures of every class, and of those that are left."""
    mixed = [random.permutation(indices) for indices in pool]
    taken = np.concatenate([indices[:each] for indices in mixed])
    return taken, np.concatenate([indices[each:] for indices in mixed])
