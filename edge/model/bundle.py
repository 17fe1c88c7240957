"""What a card's keys must agree on: a classifier, a backbone, or a head on a network's features.

    a classifier   file, labels
    a backbone     file, output.activation = "features", no labels
    a head         [head], labels, and the network: file, or backbone with sha256

Pure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from edge.errors import ModelError
from edge.model.card import ModelCard, Preprocessing

HEADED: Final = "head"


def gives_features(card: ModelCard) -> bool:
    """Return whether the model gives features and no scores."""
    return card.output.activation == "features" and card.head is None


def check(card: ModelCard, given: frozenset[str], path: Path) -> None:
    """Raise ModelError where the keys of the card in ``path`` contradict each other."""
    if bool(card.file) == bool(card.backbone):
        both = bool(card.file)
        raise ModelError(
            "`file` and `backbone` at once" if both else "key `file` is missing",
            where=str(path),
            expected="one of them" if both else "",
            hint="remove one" if both else "add it, or `backbone` of a model with [head]",
        )
    if card.head is not None:
        _check_headed(card, given, path)
    elif card.backbone:
        raise ModelError("`backbone` without [head]", where=str(path), hint="add [head]")
    elif gives_features(card) and card.labels:
        raise ModelError(
            "features have no labels",
            where=f"{path}: labels",
            expected="none",
            got=f"{len(card.labels)}",
            hint="remove them, or add [head]",
        )
    if gives_features(card) and card.baseline is not None:
        raise ModelError(
            "[baseline] of a model without scores", where=str(path), hint="remove it, or add [head]"
        )


def _check_headed(card: ModelCard, given: frozenset[str], path: Path) -> None:
    if len(card.labels) < 2:
        raise ModelError(
            "a model with [head] needs labels",
            where=f"{path}: labels",
            expected="at least 2",
            got=str(len(card.labels)),
        )
    if "output.activation" in given and card.output.activation != "features":
        raise ModelError(
            "the network of a model with [head] gives features",
            where=f"{path}: output.activation",
            expected="features",
            got=card.output.activation,
            hint="remove it: the head's scores are a softmax",
        )
    if card.backbone and not card.sha256:
        raise ModelError(
            "key `sha256` is missing",
            where=str(path),
            hint="add the checksum of the backbone's file, for which the head was made",
        )


def on_backbone(
    card: ModelCard,
    given: frozenset[str],
    path: Path,
    backbone: ModelCard,
    backbone_given: frozenset[str],
) -> tuple[ModelCard, frozenset[str]]:
    """Return the card in ``path`` with its backbone's preprocessing, and the keys that both give.

    Raises ModelError where both give a key and differ: the features would be others.
    """
    own, theirs = card.preprocessing, backbone.preprocessing
    changes = {}
    for key in Preprocessing.__struct_fields__:
        name = f"preprocessing.{key}"
        mine = getattr(own, key)
        if name not in given:
            continue
        if name in backbone_given and _plain(mine) != _plain(getattr(theirs, key)):
            raise ModelError(
                "the card contradicts that of its backbone",
                where=f"{path}: {name}",
                expected=str(getattr(theirs, key)),
                got=str(mine),
                hint="remove it, or teach the head again",
            )
        changes[key] = mine
    how = msgspec.structs.replace(theirs, **changes)
    keys = {key for key in backbone_given if key.startswith("preprocessing.")}
    return msgspec.structs.replace(card, preprocessing=how), given | keys


def _plain(value: Any) -> Any:
    """Return one number for equal numbers: a mean for each channel may be the same."""
    if isinstance(value, tuple) and len({*value}) == 1:
        return value[0]
    return value
