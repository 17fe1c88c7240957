"""What the shipped models must reach at least, and what a model reaches of it. Pure.

No choice is made on these sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from models import tables
from models.judge import Judged, pool


@dataclass(frozen=True, slots=True)
class Floor:
    """One measure: the share of ``count`` in ``total``, both of metrics.figures.

    bounds   name of a shipped model -> percent
    at_most  whether the bound is the highest that is allowed, not the lowest
    """

    sets: tuple[str, ...]
    text: str
    count: str
    total: str
    bounds: Mapping[str, float]
    at_most: bool = False

    def meets(self, figures: Mapping[str, int], bound: float) -> bool:
        """Return whether the figures are within the bound."""
        percent = 100 * figures[self.count] / max(1, figures[self.total])
        return percent <= bound if self.at_most else percent >= bound


def _bounds(small: float, large: float) -> dict[str, float]:
    return {"catdog": small, "catdog-large": large}


FLOORS: Final = (
    Floor(
        ("test_neither",),
        "called cat or dog at >= 0.6",
        "false_alarms",
        "background_images",
        _bounds(3.0, 1.5),
        at_most=True,
    ),
    Floor(
        ("test_independent", "test_neither"),
        "three classes right",
        "correct",
        "images",
        _bounds(96.0, 98.0),
    ),
    Floor(
        ("test_independent",),
        "cat against dog, where either is said",
        "either_right",
        "either_said",
        _bounds(97.8, 99.0),
    ),
    Floor(
        ("test_independent",),
        "cats and dogs called neither",
        "called_background",
        "subject_images",
        _bounds(2.5, 1.5),
        at_most=True,
    ),
    Floor(("test_more",), "right", "correct", "images", _bounds(92.0, 95.0)),
    Floor(("held_out",), "right", "correct", "images", _bounds(97.8, 99.0)),
)


def table(
    name: str, kinds: Mapping[str, Mapping[str, Judged]], background: Sequence[int]
) -> list[str]:
    """Return the table of a shipped model; nothing of another, or without the sets.

    name   of the model
    kinds  kind of file, such as int8 -> its scores by set
    """
    rows = []
    for floor in FLOORS:
        if name not in floor.bounds or any(
            one not in sets for one in floor.sets for sets in kinds.values()
        ):
            continue
        bound, cells = floor.bounds[name], []
        for sets in kinds.values():
            figures = pool(sets[one] for one in floor.sets).figures(background)
            cell = tables.of(figures, floor.count, floor.total, interval=True)
            missed = cell != tables.NONE and not floor.meets(figures, bound)
            cells.append(f"{cell}, not met" if missed else cell)
        images = sum(len(next(iter(kinds.values()))[one].samples) for one in floor.sets)
        wanted = f"{'at most' if floor.at_most else 'at least'} {bound:g}"
        rows.append([" + ".join(floor.sets), f"{images:,}", floor.text, *cells, wanted])
    head = ["set", "pictures", "measure, %", *kinds, "wanted"]
    return tables.table(head, rows) if rows else []
