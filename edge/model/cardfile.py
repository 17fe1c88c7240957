"""Reads a model card, ``model.toml``, and checks that its keys agree with each other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

from edge import toml
from edge.errors import ModelError
from edge.model import bundle, cardcheck
from edge.model.card import Golden, ModelCard

FEATURES_MIN: Final = 8
"""Of a golden picture; fewer say little about a network."""


def read(path: Path, file: int | None = None) -> ModelCard:
    """Return the card in the file ``path``. file: its descriptor if open. Raises ModelError."""
    return read_given(path, file)[0]


def read_given(path: Path, file: int | None = None) -> tuple[ModelCard, frozenset[str]]:
    """Return the card in ``path`` and the keys that it has: "name", "preprocessing.mean" ...

    Raises ModelError.
    """
    tables: dict[str, Any] = toml.read(path, ModelError, file)
    card = toml.convert(tables, ModelCard, str(path), ModelError)
    given = set(tables)
    for part in ("preprocessing", "output"):
        given |= {f"{part}.{key}" for key in tables.get(part, {})}
    bundle.check(card, frozenset(given), path)
    if card.labels or bundle.gives_features(card):
        check_labelled(card, path)
    return card, frozenset(given)


def check_labelled(card: ModelCard, path: Path) -> None:
    """Raise ModelError where what the card in ``path`` says does not fit its labels.

    For a card that leaves them to the model's file, once they are known.
    """
    cardcheck.check(card, path)
    _check_golden(card, path)


def _check_golden(card: ModelCard, path: Path) -> None:
    """Raise ModelError unless the golden picture, if there is one, has what the model gives."""
    golden = card.golden
    if golden is None:
        return
    if math.isnan(golden.tolerance):
        raise ModelError("not a number", where=f"{path}: golden.tolerance", expected="0 to 1")
    if bundle.gives_features(card):
        _check_features(golden, path)
        return
    if golden.features:
        raise ModelError(
            "features of a model that gives scores",
            where=f"{path}: golden.features",
            hint="remove them, and give `scores`",
        )
    if len(golden.scores) != len(card.labels):
        raise ModelError(
            "wrong number of scores",
            where=f"{path}: golden.scores",
            expected=f"{len(card.labels)}, one per label",
            got=str(len(golden.scores)),
        )
    if not all(0 <= score <= 1 for score in golden.scores):
        raise ModelError(
            "wrong score",
            where=f"{path}: golden.scores",
            expected="numbers from 0 to 1",
            got=str(list(golden.scores)),
        )


def _check_features(golden: Golden, path: Path) -> None:
    if golden.scores:
        raise ModelError(
            "scores of a model that gives features",
            where=f"{path}: golden.scores",
            hint="remove them, and give `features`",
        )
    where = f"{path}: golden.features"
    if len(golden.features) < FEATURES_MIN:
        raise ModelError(
            "too few features",
            where=where,
            expected=f"at least {FEATURES_MIN}",
            got=str(len(golden.features)),
        )
    if not 0 < sum(value * value for value in golden.features) < math.inf:
        raise ModelError("wrong features", where=where, expected="finite numbers, not all 0")
