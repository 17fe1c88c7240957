"""Checks a card's background labels and recommended thresholds. Pure."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Final

from edge.errors import ModelError
from edge.model.card import ModelCard
from edge.text import escaped

_QUOTED: Final = 40
"""Characters of a label in an error line."""
_NAMED: Final = 10
"""Labels in an error line."""


def check(card: ModelCard, path: Path) -> None:
    """Raise ModelError where the card in ``path`` names impossible backgrounds or thresholds."""
    _check_background(card.background, card.labels, f"{path}: background")
    advice = card.smoothing
    if advice is not None and advice.exit > advice.enter:
        raise ModelError(
            "`exit` is above `enter`",
            where=f"{path}: smoothing.exit",
            expected=f"at most {advice.enter}",
            got=str(advice.exit),
            hint="a label must disappear at a lower score than it appears at",
        )


def _check_background(background: tuple[str, ...], labels: tuple[str, ...], where: str) -> None:
    """Raise ModelError unless ``background`` are some of ``labels``, each once, and not all."""
    for number, label in enumerate(background):
        if label not in labels:
            close = difflib.get_close_matches(label, labels, n=1)
            rest = ", ..." if len(labels) > _NAMED else ""
            raise ModelError(
                "a background label that is no label",
                where=where,
                expected="one of " + ", ".join(_quoted(one) for one in labels[:_NAMED]) + rest,
                got=_quoted(label),
                hint=f"did you mean {_quoted(close[0])}?" if close else "",
            )
        if label in background[:number]:
            raise ModelError("a background label twice", where=where, got=_quoted(label))
    if background and set(labels) <= set(background):
        raise ModelError(
            "every label is a background label",
            where=where,
            expected="at least one that is none",
            got=", ".join(map(_quoted, background[:_NAMED])),
            hint="name only labels that mean that nothing of interest is there",
        )


def _quoted(label: str) -> str:
    return f"`{escaped(label, _QUOTED)}`"
