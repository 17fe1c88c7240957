"""The shape of a model's input: its own, or where it leaves that open, what card or metadata say.

Pure.
"""

from __future__ import annotations

import math

from edge.errors import ModelError
from edge.model.card import LARGEST_SIDE

Size = tuple[int, int]
"""Height and width."""


def input_shape(
    shape: tuple[int, ...],
    signature: tuple[int, ...],
    size: Size | None,
    usual: Size | None,
    where: str,
) -> tuple[int, ...]:
    """Return the shape to allocate. Raises ModelError.

    shape      as the model would be allocated
    signature  the same, -1 where a side is open; empty where all are fixed
    size       the card's; must agree with the sides that are fixed
    usual      what the file's metadata say; ignored where no side is open
    """
    signature = signature or shape
    if len(signature) == 4 and -1 in signature[1:]:
        shape = _filled(signature, size or usual, where)
    if max(shape[1:], default=1) > LARGEST_SIDE or math.prod(shape) > 4 * LARGEST_SIDE**2:
        raise ModelError(
            "the model's input is too large",
            where=where,
            expected=f"at most {LARGEST_SIDE} pixels a side",
            got=str(shape),
        )
    if size and len(signature) == 4:
        _check(size, (signature[1], signature[2]), where)
    return shape


def _filled(signature: tuple[int, ...], size: Size | None, where: str) -> tuple[int, ...]:
    """Return the signature with ``size`` in it."""
    shape = (1, *(size or (-1, -1)), signature[3])
    if -1 in shape:
        raise ModelError(
            "the model leaves the size of its input open",
            where=where,
            got=str(signature),
            hint="set `input = [height, width]` in [preprocessing] of model.toml",
        )
    return shape


def _check(size: Size, fixed: Size, where: str) -> None:
    """Raise ModelError where the card's size contradicts a fixed side."""
    if any(side not in (-1, own) for side, own in zip(fixed, size, strict=True)):
        raise ModelError(
            "`input` in [preprocessing] does not fit the model",
            where=where,
            expected=str(list(fixed)),
            got=str(list(size)),
        )
