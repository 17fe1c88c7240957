"""One page of cases: filtered, newest first, with how many there are of each class.

Reads side-cars one after the other, so each request has a limit on them; where it is reached, the
page is short and ``next`` says where to go on. Runs on a thread of work.py.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Final

import msgspec

from edge.cases import names
from edge.cases.listing import Filter
from edge.cases.sidecar import SideCar
from edge.cases.store import Store

SCAN: Final = 4_000
"""Side-cars that one request reads: 0.2 s on the development machine."""


class Row(msgspec.Struct, rename={"label_of": "class"}):
    """One case.

    class   null where it is unsorted
    time    when it was taken, seconds since 1970; null where nothing says it
    label   of the window, null while uncertain
    scores  of the frame alone, the best ones
    """

    name: str
    label_of: str | None
    time: float | None
    reason: str | None
    label: str | None
    scores: dict[str, float]
    model: str | None


class Rows(msgspec.Struct):
    """A page of cases.

    next    give it as ``before`` for the next page; null at the end
    counts  class -> cases, whatever the filter; ``unsorted`` among them
    """

    cases: list[Row]
    next: str | None
    counts: dict[str, int]


class Query(msgspec.Struct, frozen=True):
    """Which cases. label_of: the class, empty for unsorted, None for all; before: a name."""

    which: Filter
    min_score: float | None
    max_score: float | None
    before: str
    limit: int

    def takes(self, sidecar: SideCar | None) -> bool:
        """Return whether a case with this side-car is listed; its best score decides."""
        if not self.which.takes(sidecar):
            return False
        if self.min_score is None and self.max_score is None:
            return True
        best = max(sidecar.scores.values(), default=None) if sidecar else None
        low, high = self.min_score, self.max_score
        return best is not None and (low is None or best >= low) and (high is None or best <= high)


def rows(folder: Path, query: Query) -> Rows:
    """Return a page; an empty one where there is no folder. Raises OSError."""
    try:
        store = Store(folder)
    except FileNotFoundError:
        return Rows([], None, {names.UNSORTED: 0})
    with store:
        there = _there(store)
        counts = {label or names.UNSORTED: len(mine) for label, mine in there.items()}
        made: list[Row] = []
        scanned = ""
        for count, (name, label) in enumerate(_newest(there, query)):
            if len(made) == query.limit or count == SCAN:
                return Rows(made, scanned, counts)
            scanned = name
            sidecar = store.sidecar(name, label)
            if query.takes(sidecar):
                made.append(_row(name, label, sidecar))
        return Rows(made, None, counts)


def _there(store: Store) -> dict[str, list[str]]:
    """Return class -> names of its cases; empty for unsorted."""
    there = {"": store.names("")}
    for label in store.labels():
        if label != names.UNSORTED:
            with contextlib.suppress(FileNotFoundError):
                there[label] = store.names(label)
    return there


def _newest(there: dict[str, list[str]], query: Query) -> list[tuple[str, str]]:
    """Return name and class of the cases of the class, newest first."""
    wanted = query.which.label
    found = [
        (name, label)
        for label, mine in there.items()
        if wanted in (None, label)
        for name in mine
        if not query.before or name < query.before
    ]
    return sorted(found, reverse=True)


def _row(name: str, label: str, sidecar: SideCar | None) -> Row:
    known: dict[str, Any] = {"time": None, "reason": None, "label": None, "model": None}
    if sidecar is not None:
        known = {"reason": sidecar.reason, "label": sidecar.label, "model": sidecar.model or None}
        known["time"] = sidecar.time or None  # of an upload that does not say it
    return Row(name, label or None, scores=dict(sidecar.scores) if sidecar else {}, **known)
