"""What was taught, as records and as text for a terminal. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from edge.learn.teach import Taught

SHOWN: Final = 20
"""Suspects on a terminal."""
WRONG: Final = 500
"""Pictures behind the confusion, the surest mistakes first."""


def figures(taught: Taught) -> dict[str, Any]:
    """Return the figures as JSON takes them."""
    samples = taught.samples
    recall = np.diag(taught.confusion) / np.maximum(taught.confusion.sum(1), 1)
    return {
        "accuracy": round(taught.accuracy, 4),
        "interval": [round(end, 4) for end in taught.interval],
        "verdict": taught.verdict,
        "classes": {
            label: {
                "pictures": int((samples.classes == number).sum()),
                "moments": len(np.unique(taught.groups[samples.classes == number])),
                "right": round(float(recall[number]), 4),
            }
            for number, label in enumerate(samples.labels)
        },
        "confusion": taught.confusion.tolist(),
        "suspects": [
            {
                "picture": samples.names[one.index],
                "label": samples.labels[samples.classes[one.index]],
                "looks_like": samples.labels[one.said],
                "score": round(one.other, 3),
            }
            for one in taught.suspects
        ],
        "wrong": list(itertools.islice(_wrong(taught), WRONG)),
        "warnings": list(taught.warnings),
        "curve": [
            {"pictures": point.pictures, "accuracy": round(point.accuracy, 4)}
            for point in taught.curve
        ],
        "unread": [{"picture": name, "reason": reason} for name, reason in samples.unread],
        "strength": taught.strength,
        "smoothing": {"enter": taught.smoothing.enter, "exit": taught.smoothing.exit},
    }


def _wrong(taught: Taught) -> Iterator[dict[str, Any]]:
    """Yield the pictures that count as wrong in the confusion, the surest first."""
    samples, said = taught.samples, taught.scores.argmax(1)
    sure = taught.scores.max(1)
    for index in np.argsort(-sure, kind="stable"):
        if said[index] != samples.classes[index]:
            yield {
                "picture": samples.names[index],
                "label": samples.labels[samples.classes[index]],
                "taken_for": samples.labels[said[index]],
                "score": round(float(sure[index]), 3),
            }


def text(taught: Taught) -> str:
    """Return the report for a terminal; not yet escaped."""
    return "\n".join(_lines(figures(taught), taught.samples.labels))


def _lines(found: dict[str, Any], labels: tuple[str, ...]) -> Iterator[str]:
    low, high = (100 * end for end in found["interval"])
    share = 100 * found["accuracy"]
    yield f"accuracy  {share:.1f} % ({low:.1f} to {high:.1f}) on moments that were not taught"
    yield f"verdict   {found['verdict']}"
    width = max(len(label) for label in labels)
    yield f"{'':{width}}  pictures  moments  right  taken for"
    for number, (label, one) in enumerate(found["classes"].items()):
        row = found["confusion"][number]
        wrong = sorted(
            ((count, other) for other, count in enumerate(row) if other != number and count),
            reverse=True,
        )
        taken = ", ".join(f"{labels[other]} {count}" for count, other in wrong[:3])
        yield (
            f"{label:{width}}  {one['pictures']:8}  {one['moments']:7}  {100 * one['right']:4.0f} %"
            f"  {taken}"
        ).rstrip()
    if found["curve"]:
        points = (f"{p['pictures']}: {100 * p['accuracy']:.1f} %" for p in found["curve"])
        yield f"with so many pictures taught  {', '.join(points)}"
    for warning in found["warnings"]:
        yield f"warning   {warning}"
    if found["suspects"]:
        yield f"{len(found['suspects'])} pictures that may be in the wrong folder, worst first:"
    for one in found["suspects"][:SHOWN]:
        yield f"  {one['picture']}: looks like {one['looks_like']} ({one['score']:.2f})"
    if found["unread"]:
        yield f"{len(found['unread'])} files left out:"
    for one in found["unread"][:SHOWN]:
        yield f"  {one['picture']}: {one['reason']}"
