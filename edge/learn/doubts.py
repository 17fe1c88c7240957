"""What looks wrong in the pictures: labels, classes that differ by time or light, confusions.

Each finding is a line for a person, with what it rests on. Pure.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.learn import solver
from edge.learn.samples import Samples, twins
from edge.learn.solver import Array, Points
from edge.learn.validation import Classes, balance

SURER: Final = 0.35
"""By so much must another class be likelier than a picture's own, to doubt its label."""
ROUNDS: Final = 2
"""Wrong labels spoil the fits that judge them: those found are left out, and all judged again."""
SUSPECTS_SHARE: Final = 0.3
"""More of a class than this is no mistake of sorting: the features cannot tell it apart."""
FEW: Final = 10
"""Pictures of a class below which its figures say little."""
NIGHT: Final = (21.0, 6.0)
APART: Final = 0.97
"""Share that brightness alone tells apart, to say that classes differ by it."""
CONFUSED: Final = 0.25
"""Share of a class that is taken for another, to say that features cannot tell them apart."""
TIMES_LEAST: Final = 8
EQUAL: Final = 0.02
"""Share of their length by which features of the same picture differ."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A picture whose label looks wrong. own, other: probabilities of its label and of ``said``."""

    index: int
    said: int
    own: float
    other: float


def suspects(
    x: Points,
    classes: Classes,
    fold: Classes,
    labels_total: int,
    strength: float,
    tick: Callable[[], None] = lambda: None,
) -> list[Suspect]:
    """Return the pictures that fits without their group see as another class, worst first."""
    doubted = np.zeros(len(classes), np.bool_)
    scores = np.zeros((len(classes), labels_total))
    for _ in range(ROUNDS):
        for number in range(int(fold.max()) + 1):
            train = (fold != number) & ~doubted
            if len(np.unique(classes[train])) < 2:
                continue
            often = balance(classes[train], labels_total)
            found = solver.fit(x[train], classes[train], labels_total, strength, often)
            scores[fold == number] = found.scores(x[fold == number])
            tick()
        said = scores.argmax(1)
        rows = np.arange(len(classes))
        gap = scores[rows, said] - scores[rows, classes]
        doubted = gap > SURER
        for label in range(labels_total):
            mine = classes == label
            if mine.any() and doubted[mine].mean() > SUSPECTS_SHARE:
                doubted[mine] &= gap[mine] > np.quantile(gap[mine], 1 - SUSPECTS_SHARE)
    worst = sorted(np.flatnonzero(doubted), key=lambda index: (-gap[index], index))
    return [
        Suspect(int(i), int(said[i]), float(scores[i, classes[i]]), float(scores[i, said[i]]))
        for i in worst
    ]


def confusion(scores: Array, classes: Classes) -> NDArray[np.int64]:
    """Return how many of class i were taken for class j, (C, C)."""
    table = np.zeros((scores.shape[1], scores.shape[1]), np.int64)
    np.add.at(table, (classes, scores.argmax(1)), 1)
    return table


def warnings(samples: Samples, groups: Classes, table: NDArray[np.int64]) -> list[str]:
    """Return what a person should know before trusting the result, a line each."""
    lines = [*_few(samples, groups), *_same(samples), *_light(samples), *_hours(samples)]
    return lines + _confused(samples, table)


def _few(samples: Samples, groups: Classes) -> list[str]:
    lines = []
    for number, label in enumerate(samples.labels):
        mine = samples.classes == number
        count, moments = int(mine.sum()), len(np.unique(groups[mine]))
        if count < FEW:
            lines.append(f"`{label}` has only {count} pictures: collect at least {FEW}")
        elif moments < 3:
            lines.append(
                f"all pictures of `{label}` are of {moments} moment{'s' * (moments > 1)}:"
                " the accuracy says little; collect some on other days"
            )
    return lines


def _same(samples: Samples) -> list[str]:
    pairs = [
        (a, b)
        for a, b in twins(samples.prints)
        if samples.classes[a] != samples.classes[b] and _equal(*samples.features[[a, b]])
    ]
    if not pairs:
        return []
    shown = "; ".join(f"{samples.names[a]} and {samples.names[b]}" for a, b in pairs[:3])
    return [f"{len(pairs)} near-duplicates are in two classes: {shown}"]


def _equal(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Return whether two pictures are the same but for their encoding.

    A fingerprint alone does not say so: a fixed camera sees nearly the same in every class.
    """
    return bool(np.linalg.norm(one - other) <= EQUAL * max(float(np.linalg.norm(one)), 1e-9))


def _light(samples: Samples) -> list[str]:
    lines = []
    for number, label in enumerate(samples.labels):
        mine, others = samples.classes == number, samples.classes != number
        if mine.sum() < TIMES_LEAST or others.sum() < TIMES_LEAST:
            continue
        share = _above(samples.bright[mine], samples.bright[others])
        if max(share, 1 - share) >= APART:
            word = "brighter" if share > 0.5 else "darker"
            lines.append(
                f"nearly all pictures of `{label}` are {word} than the others: it may be the light"
                " that is learnt; collect each class by day and by night"
            )
            if len(samples.labels) == 2:
                break
    return lines


def _above(mine: Array, others: Array) -> float:
    """Return how often one of ``mine`` is above one of ``others``: the area under the curve."""
    ranks = np.searchsorted(np.sort(others), mine, "left") + np.searchsorted(
        np.sort(others), mine, "right"
    )
    return float(ranks.mean() / (2 * len(others)))


def _hours(samples: Samples) -> list[str]:
    lines = []
    known = np.isfinite(samples.times_s)
    hours = np.array(
        [_hour(s) if k else np.nan for s, k in zip(samples.times_s, known, strict=True)]
    )
    night = (hours >= NIGHT[0]) | (hours < NIGHT[1])
    for number, label in enumerate(samples.labels):
        mine, others = known & (samples.classes == number), known & (samples.classes != number)
        if mine.sum() < TIMES_LEAST or others.sum() < TIMES_LEAST:
            continue
        for when, word in ((night, "night"), (~night, "day")):
            if when[mine].mean() >= APART and when[others].mean() < 0.5:
                lines.append(
                    f"your `{label}` pictures are all by {word}, most others are not: collect"
                    f" some of `{label}` by {'day' if word == 'night' else 'night'}"
                )
    return lines


def _hour(unix_s: float) -> float:
    local = time.localtime(unix_s)
    return local.tm_hour + local.tm_min / 60


def _confused(samples: Samples, table: NDArray[np.int64]) -> list[str]:
    lines = []
    totals = np.maximum(table.sum(1), 1)
    for a in range(len(samples.labels)):
        for b in range(a + 1, len(samples.labels)):
            share = max(table[a, b] / totals[a], table[b, a] / totals[b])
            if share >= CONFUSED and min(totals[a], totals[b]) >= FEW:
                lines.append(
                    f"these features hardly tell `{samples.labels[a]}` from"
                    f" `{samples.labels[b]}`: {100 * share:.0f} % are confused"
                )
    return lines
