"""From samples with features to a head, and what is known of how good it is.

The steps, in order: groups, folds, the strength of the penalty, suspects, warnings, the learning
curve, and the head, which is taught with every picture. Deterministic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.config import Recommended
from edge.errors import ConfigError
from edge.learn import curve, doubts, solver, validation
from edge.learn.curve import Point
from edge.learn.doubts import Suspect
from edge.learn.samples import Samples, groups, lone
from edge.learn.solver import Array, Fit

STEPS: Final = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8)
"""Thresholds to recommend. Above 0.8 one unsure frame in a window of ten, as when somebody passes,
keeps the label from changing."""
WRONG_SHARE: Final = 0.02
"""Of the pictures that are shown as something, wrong ones that a threshold may let through."""
LEAST_RIGHT: Final = 0.85
"""Of the right pictures, how many must still be shown."""


@dataclass(frozen=True, slots=True)
class Taught:
    """What was taught, and how good it is.

    head       for the features themselves
    strength   C of the regression
    scores     (N, C), each by fits without the sample's group
    groups     (N,)
    accuracy   by cross-validation, every class counting the same; interval: 95 %
    confusion  (C, C) true by said
    """

    samples: Samples
    head: Fit
    strength: float
    scores: Array
    groups: NDArray[np.int64]
    accuracy: float
    interval: tuple[float, float]
    confusion: NDArray[np.int64]
    suspects: tuple[Suspect, ...]
    warnings: tuple[str, ...]
    curve: tuple[Point, ...]
    verdict: str
    smoothing: Recommended


def teach(samples: Samples, tick: Callable[[], None] = lambda: None) -> Taught:
    """Return the head that the samples teach. Raises ConfigError where they cannot teach any.

    Their features are overwritten meanwhile, and the same afterwards, but for rounding.

    tick  called after every part of the work
    """
    labels_total = len(samples.labels)
    _check(samples)
    group = groups(samples)
    fold = validation.folds(samples.classes, lone(group, samples.classes), labels_total)
    basis, x = validation.basis(samples.features)
    found = validation.validate(x, samples.classes, fold, labels_total, tick)
    right = found.scores.argmax(1) == samples.classes
    accuracy = validation.accuracy(right, samples.classes)
    table = doubts.confusion(found.scores, samples.classes)
    suspects = doubts.suspects(x, samples.classes, fold, labels_total, found.strength, tick)
    points = curve.curve(x, samples.classes, group, fold, found.scores, found.strength, tick)
    often = validation.balance(samples.classes, labels_total)
    fit = solver.fit(x, samples.classes, labels_total, found.strength, often)
    basis.restore(x)
    return Taught(
        samples=samples,
        head=basis.head(fit),
        strength=found.strength,
        scores=found.scores,
        groups=group,
        accuracy=accuracy,
        interval=validation.interval(accuracy, group),
        confusion=table,
        suspects=tuple(suspects),
        warnings=tuple(doubts.warnings(samples, group, table)),
        curve=tuple(points),
        verdict=curve.verdict(points, table, samples.labels),
        smoothing=recommend(found.scores, samples.classes),
    )


def recommend(scores: Array, classes: NDArray[np.int64]) -> Recommended:
    """Return thresholds: the lowest `enter` that shows few wrong labels and most right ones."""
    best, right = scores.max(1), scores.argmax(1) == classes
    chosen = STEPS[0]
    for step in STEPS:
        shown = best >= step
        if step > STEPS[0] and (shown & right).sum() < LEAST_RIGHT * right.sum():
            break
        chosen = step
        if (shown & ~right).sum() <= WRONG_SHARE * max(1, shown.sum()):
            break
    return Recommended(chosen, round(1 - chosen, 2))


def _check(samples: Samples) -> None:
    counts = np.bincount(samples.classes, minlength=len(samples.labels))
    for label, count in zip(samples.labels, counts, strict=True):
        if not count:
            raise ConfigError(f"class `{label}` has no picture that can be read", where=label)
    if not np.isfinite(samples.features).all():
        raise ConfigError("features are not finite", hint="use another backbone")
    rows = [hashlib.sha256(row.tobytes()).digest() for row in samples.features]
    pictures = [
        {rows[index] for index in np.flatnonzero(samples.classes == label)}
        for label in range(len(samples.labels))
    ]
    for a in range(len(samples.labels)):
        for b in range(a + 1, len(samples.labels)):
            if pictures[a] == pictures[b]:
                raise ConfigError(
                    "two classes are the same pictures",
                    got=f"{samples.labels[a]} and {samples.labels[b]}",
                    hint="sort them again, or remove one",
                )
