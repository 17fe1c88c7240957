"""Cases as rows: filtered, in order of their names, read one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edge.cases.sidecar import SideCar
from edge.cases.store import Store


@dataclass(frozen=True, slots=True)
class Case:
    """One case. label: its class, empty where it is unsorted."""

    name: str
    label: str
    path: Path
    sidecar: SideCar | None

    def fields(self) -> dict[str, Any]:
        """Return it as plain values: name, class and picture, then the side-car's own keys."""
        known = msgspec.to_builtins(self.sidecar) if self.sidecar else {}
        own = {"name": self.name, "sorted": self.label or None, "picture": str(self.path)}
        return own | known


@dataclass(frozen=True, slots=True)
class Filter:
    """Which cases are listed; None: all.

    label       the class; empty for the unsorted ones
    reason      why they were kept
    predicted   what the window's label was
    since_s, until_s  when, seconds since 1970
    """

    label: str | None = None
    reason: str | None = None
    predicted: str | None = None
    since_s: float | None = None
    until_s: float | None = None

    def takes(self, sidecar: SideCar | None) -> bool:
        """Return whether a case with this side-car is listed."""
        wanted = (self.reason, self.predicted, self.since_s, self.until_s)
        if sidecar is None:
            return wanted == (None, None, None, None)
        return (
            self.reason in (None, sidecar.reason)
            and self.predicted in (None, sidecar.label)
            and (self.since_s is None or sidecar.time >= self.since_s)
            and (self.until_s is None or sidecar.time < self.until_s)
        )


def cases(store: Store, which: Filter, newest_first: bool = False) -> Iterator[Case]:
    """Yield the cases that ``which`` takes. Raises OSError."""
    labels = ("", *store.labels()) if which.label is None else (which.label,)
    found = []
    for label in labels:
        try:
            found += [(name, label) for name in store.names(label)]
        except FileNotFoundError:
            continue  # no such class
    for name, label in sorted(found, reverse=newest_first):
        sidecar = store.sidecar(name, label)
        if which.takes(sidecar):
            yield Case(name, label, store.picture(name, label), sidecar)
