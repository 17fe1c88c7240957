"""Whether more pictures would help, and of which class: the accuracy with fewer than there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.learn import solver
from edge.learn.solver import Array, Points
from edge.learn.validation import Classes, accuracy, balance

SHARES: Final = (0.25, 0.5, 0.75)
DRAWS: Final = 3
SEED: Final = 1
GAIN: Final = 0.01
"""Of accuracy, from three quarters of the pictures to all: with more, more pictures help."""
ENOUGH: Final = 0.99
"""From this accuracy on, there is little left to gain."""
POOR: Final = 0.6


@dataclass(frozen=True, slots=True)
class Point:
    """pictures: that taught; accuracy: on those of the other folds."""

    pictures: int
    accuracy: float


def curve(
    x: Points,
    classes: Classes,
    groups: Classes,
    fold: Classes,
    scores: Array,
    strength: float,
    tick: Callable[[], None] = lambda: None,
) -> list[Point]:
    """Return the accuracy by pictures taught: for each share, fits on some groups of each fold."""
    labels_total = scores.shape[1]
    random = np.random.default_rng(SEED)
    points = []
    for share in SHARES:
        right: list[NDArray[np.bool_]] = []
        counted = []
        for _ in range(DRAWS):
            said = np.zeros(len(classes), np.int64)
            for number in range(int(fold.max()) + 1):
                train = _some(np.flatnonzero(fold != number), classes, groups, share, random)
                often = balance(classes[train], labels_total)
                fit = solver.fit(x[train], classes[train], labels_total, strength, often)
                said[fold == number] = fit.scores(x[fold == number]).argmax(1)
                counted.append(len(train))
            right.append(said == classes)
            tick()
        points.append(
            Point(
                round(np.mean(counted)), float(np.mean([accuracy(one, classes) for one in right]))
            )
        )
    whole = round(len(classes) * (1 - 1 / (int(fold.max()) + 1)))
    return [*points, Point(whole, accuracy(scores.argmax(1) == classes, classes))]


def _some(
    rows: Classes, classes: Classes, groups: Classes, share: float, random: np.random.Generator
) -> Classes:
    """Return a share of the rows' groups of each class, at least one of each."""
    chosen = []
    for label in np.unique(classes[rows]):
        mine = rows[classes[rows] == label]
        own = random.permutation(np.unique(groups[mine]))
        taken = own[: max(1, round(share * len(own)))]
        chosen.append(mine[np.isin(groups[mine], taken)])
    return np.concatenate(chosen)


def verdict(points: list[Point], table: NDArray[np.int64], labels: tuple[str, ...]) -> str:
    """Return in one sentence whether to collect more, and of which class."""
    now = points[-1].accuracy
    gain = now - points[-2].accuracy
    recall = np.diag(table) / np.maximum(table.sum(1), 1)
    worst = labels[int(np.lexsort((table.sum(1), recall))[0])]
    if now >= ENOUGH:
        return "enough"
    if now < POOR:
        return f"not usable: look at the suspects, and at the pictures of `{worst}`"
    if gain > GAIN:
        return f"more pictures of `{worst}` would help most"
    return f"enough of the same kind: only other situations of `{worst}` would help"
