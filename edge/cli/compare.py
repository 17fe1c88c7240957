"""Compares two opinions of the same frames: where labels and events differ. Pure, bounded.

Two opinions of a frame differ where the labels of their windows do, or only one has scores.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from edge.cli.judge import Opinion

SPANS_MAX: Final = 1_000
"""Differences that are kept, and changes of one alone; more are counted."""
WAITING_MAX: Final = 100
"""Changes that wait for the same of the other side."""
NEAR_S: Final = 1.0
"""The same change of the label on both sides within this time is one, earlier on one side."""


class Span(msgspec.Struct, kw_only=True):
    """Frames in a row that differ in the same way. begin_s, end_s: since the first frame."""

    first: int
    last: int
    begin_s: float
    end_s: float
    frames: int
    a: str | None
    b: str | None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the label that only one of the two has. side: a or b."""

    side: str
    frame: int
    at_s: float
    before: str | None
    after: str | None


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """So many frames are ``a`` to the one and ``b`` to the other."""

    a: str | None
    b: str | None
    frames: int


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What was found; ``a`` and ``b`` name the two.

    best_agree        frames with the same best score, before smoothing; None without any score
    score_difference  largest of a label's score in one frame, before smoothing; None where the
                      labels are not the same
    confusion         most frequent first; what agrees is in it
    differences       the first ones of ``spans``
    changes_*         of the label: of both at one frame, of both within ``NEAR_S``, of one alone
    """

    a: str
    b: str
    frames: int
    differ: int
    agreement: float
    best_agree: float | None
    score_difference: float | None
    confusion: tuple[Pair, ...]
    spans: int
    differences: tuple[Span, ...]
    changes_both: int
    changes_near: int
    changes_a: int
    changes_b: int
    changes: tuple[Change, ...]


class Side:
    """One side: its name, its labels, and its label so far."""

    def __init__(self, name: str, labels: tuple[str, ...]) -> None:
        self.name, self.labels = name, labels
        self.label: str | None = None

    def change(self, opinion: Opinion) -> tuple[str | None, str | None] | None:
        """Return before and after where the label changes with this frame."""
        before, self.label = self.label, opinion.label
        return None if before == opinion.label else (before, opinion.label)

    def best(self, opinion: Opinion) -> str | None:
        """Return the label with the best score of this frame alone."""
        scores = opinion.scores
        return self.labels[scores.index(max(scores))] if scores else None


class Comparer:
    """Takes two opinions of every frame."""

    def __init__(self, a: Side, b: Side) -> None:
        self._a, self._b = a, b
        self._frames = self._differ = self._spans = self._both = self._near = 0
        self._best = self._best_agree = 0
        self._score_difference = 0.0
        self._confusion: Counter[tuple[str | None, str | None]] = Counter()
        self._found: list[Span] = []
        self._open: Span | None = None
        self._only: Counter[str] = Counter()
        self._changes: list[Change] = []
        self._waiting: list[Change] = []  # for the same on the other side

    def add(self, number: int, at_s: float, a: Opinion, b: Opinion) -> None:
        """Take both opinions of frame ``number``."""
        self._frames += 1
        self._confusion[a.label, b.label] += 1
        if a.label != b.label or (a.scores is None) != (b.scores is None):
            self._differ += 1
            self._span(number, at_s, a.label, b.label)
        else:
            self._open = None
        self._compare_changes(number, at_s, self._a.change(a), self._b.change(b))
        if a.scores is not None and b.scores is not None:
            self._best += 1
            self._best_agree += self._a.best(a) == self._b.best(b)
            if self._a.labels == self._b.labels:
                largest = max(abs(x - y) for x, y in zip(a.scores, b.scores, strict=True))
                self._score_difference = max(self._score_difference, largest)

    def result(self) -> Comparison:
        """Return what was found, after the last frame."""
        self._give_up(float("inf"))
        frames, same = self._frames, self._a.labels == self._b.labels
        best = round(self._best_agree / self._best, 6) if self._best else None
        ordered = sorted(self._confusion.items(), key=lambda item: (-item[1], str(item[0])))
        return Comparison(
            a=self._a.name,
            b=self._b.name,
            frames=frames,
            differ=self._differ,
            agreement=round(1 - self._differ / frames, 6) if frames else 1.0,
            best_agree=best,
            score_difference=round(self._score_difference, 6) if same and self._best else None,
            confusion=tuple(Pair(a=a, b=b, frames=count) for (a, b), count in ordered),
            spans=self._spans,
            differences=tuple(self._found),
            changes_both=self._both,
            changes_near=self._near,
            changes_a=self._only["a"],
            changes_b=self._only["b"],
            changes=tuple(self._changes),
        )

    def _span(self, number: int, at_s: float, a: str | None, b: str | None) -> None:
        span = self._open
        if span is not None and (span.a, span.b) == (a, b):
            span.last, span.end_s, span.frames = number, at_s, span.frames + 1
            return
        self._open = Span(first=number, last=number, begin_s=at_s, end_s=at_s, frames=1, a=a, b=b)
        self._spans += 1
        if len(self._found) < SPANS_MAX:
            self._found.append(self._open)

    def _compare_changes(
        self,
        number: int,
        at_s: float,
        a: tuple[str | None, str | None] | None,
        b: tuple[str | None, str | None] | None,
    ) -> None:
        self._give_up(at_s - NEAR_S)
        if a == b:
            self._both += a is not None
            return
        for side, change in (("a", a), ("b", b)):
            if change is not None:
                before, after = change
                self._change(Change(side=side, frame=number, at_s=at_s, before=before, after=after))

    def _change(self, change: Change) -> None:
        """Take a change of one side: the other's, if it waits for this one."""
        for other in self._waiting:
            same = (other.before, other.after) == (change.before, change.after)
            if same and other.side != change.side:
                self._waiting.remove(other)
                self._near += 1
                return
        self._waiting.append(change)

    def _give_up(self, until_s: float) -> None:
        """Count the changes before ``until_s`` that the other side does not have."""
        while self._waiting and (
            self._waiting[0].at_s < until_s or len(self._waiting) > WAITING_MAX
        ):
            change = self._waiting.pop(0)
            self._only[change.side] += 1
            if len(self._changes) < SPANS_MAX:
                self._changes.append(change)
