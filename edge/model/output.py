"""How a network's output is read: as scores, as features, or as features with a head.

The choice is made once, when a model is loaded. Pure.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError
from edge.model.card import Activation, TensorSpec
from edge.model.features import Features
from edge.model.head import HeadScores
from edge.model.headfile import Head
from edge.model.scores import Scores


class Reader(Protocol):
    """Reads one output tensor. ``size``: of what it writes, scores or features."""

    size: int

    def read(self, tensor: NDArray[Any], out: NDArray[np.float32]) -> bool:
        """Write into ``out``, (size,); False where there is nothing usable."""

    @property
    def finite(self) -> bool:
        """Whether the values read last are finite numbers."""

    def fault(self) -> str:
        """Return what is wrong with the values read last."""


def reader(
    output: TensorSpec,
    labels_total: int,
    activation: Activation,
    step: float,
    head: Head | None,
    where: str,
) -> Reader:
    """Return what reads ``output``. Raises ModelError where labels or head do not fit it.

    step   of the quantisation of the values; 0: float
    where  the network's file
    """
    if head is not None:
        return HeadScores(head, output, labels_total, where)
    if activation == "features":
        return Features(output, where)
    _check_labels(output, labels_total, activation, where)
    return Scores(output, labels_total, activation, step)


def _check_labels(output: TensorSpec, labels: int, activation: Activation, where: str) -> None:
    """Raise ModelError unless each label has a value, or two share one of a sigmoid."""
    values = int(np.prod(output.shape))
    if values == labels or (values == 1 and labels == 2 and activation != "softmax"):
        return
    hint = "correct `labels` or `activation` in the card"
    if values == labels + 1 and values > 2:
        hint = "the additional class is often `background`, the first: add it to the labels"
    raise ModelError(
        "labels do not fit the model's output",
        where=where,
        expected=f"{values} labels" + (" or 2 with a sigmoid output" if values == 1 else ""),
        got=f"{labels} with a {activation} output",
        hint=hint,
    )
