"""Figures of a model as tables, in Markdown that a terminal shows well too. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from models import metrics

NONE: Final = "-"
"""A figure that a set, or the model, does not allow."""
Measured = Mapping[str, Mapping[str, Any]]
"""Name of a set -> its figures, as models.evaluate returns them."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table whose columns are as wide as their longest cell."""
    cells = [list(head), *map(list, rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(head))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines


def share(count: int, total: int, interval: bool = False) -> str:
    """Return a share in percent, with its 95 % interval if wanted; ``-`` of nothing."""
    if not total:
        return NONE
    text = f"{100 * count / total:.2f}"
    if interval:
        low, high = metrics.wilson(count, total)
        text += f" ({100 * low:.2f} to {100 * high:.2f})"
    return text


def of(figures: Mapping[str, Any], count: str, total: str, interval: bool = False) -> str:
    """Return the share of two of the figures; ``-`` where they are not among them."""
    if count not in figures or total not in figures:
        return NONE
    return share(figures[count], figures[total], interval)


def either(subjects: Sequence[str]) -> str:
    """Return the names of the subjects in words."""
    return " or ".join(subjects) if len(subjects) < 4 else "a subject"


def legend(subjects: Sequence[str]) -> str:
    """Return what the columns of the tables of sets and parts mean."""
    subject = either(subjects)
    return (
        f"`false alarms`: background pictures called {subject} with a score of at least"
        f" {metrics.SURE}. `missed`: pictures of {subject} called background. `told apart`:"
        f" of those called {subject}, the right ones."
    )


HEADS: Final = ("pictures", "right, %", "false alarms, %", "missed, %", "told apart, %")


def _cells(figures: Mapping[str, Any], interval: bool = False) -> list[str]:
    return [
        f"{figures['images']:,}",
        of(figures, "correct", "images", interval),
        of(figures, "false_alarms", "background_images", interval),
        of(figures, "called_background", "subject_images"),
        of(figures, "either_right", "either_said"),
    ]


def sets(kinds: Mapping[str, Measured]) -> list[str]:
    """Return the table of every set, with intervals; a row for each kind of file."""
    rows = []
    for name in next(iter(kinds.values())):
        for kind, measured in kinds.items():
            figures = measured[name]
            more = [f"{figures[key]:.4f}" if key in figures else NONE for key in ("auc", "ece")]
            rows.append([name, kind, *_cells(figures, interval=True), *more])
    return table(["set", "file", *HEADS, "AUC", "ECE"], rows)


def parts(measured: Measured, key: str = "") -> list[str]:
    """Return the table of every source and group of every set; of ``key`` alone if given."""
    rows = [
        [name, kind, part, *_cells(figures[kind][part])]
        for name, figures in measured.items()
        for kind in ([key] if key else ["source", "group"])
        for part in figures.get(kind, ())
    ]
    return table(["set", "by", "name", *HEADS], rows)


def confusions(measured: Measured, labels: Sequence[str]) -> list[str]:
    """Return the table of true classes, by row, against the model's, of every set."""
    rows = []
    for name, figures in measured.items():
        for index, row in enumerate(figures["confusion"]):
            if sum(row):
                known = index < len(labels)
                right = share(row[index], sum(row)) if known else NONE
                rows.append([name, labels[index] if known else NONE, *map(str, row), right])
    head = ["set", "true class", *(f"said {label}" for label in labels), "right, %"]
    return table(head, rows)
