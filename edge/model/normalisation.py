"""Mean and std that a model file itself says; and where a card contradicts them.

In this order: TFLite metadata, unless the quantisation contradicts them (TFLite's own task library
ignores them then: for integer input many say mean 0, std 1); the quantisation of the input, whose
range is that of the real input; first layers that scale the pixels. Where there is none of these,
the usual -1 to 1 is assumed. Pure.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.model.card import Affine, InputFrom, Preprocessing, Stated, TensorSpec
from edge.model.lookup import lookup_table, real_range

Numbers = float | tuple[float, ...]
NEAR: Final = 0.15
"""Allowed distance of a range from a usual one, as a share of it: calibration sees few pictures."""
SATURATED: Final = 8
"""More pixel values than this on one tensor value are not due to rounding."""
SPAN: Final = (0.5, 16.0)
"""Width of the range of values that a network's layers usually get."""
_MEAN_ONLY: Final = -16.0
"""First layers that subtract so much get pixels from 0 to 255."""


class Known(NamedTuple):
    """Mean and std, and where they come from."""

    mean: Numbers
    std: Numbers
    source: InputFrom


USUAL: Final[tuple[tuple[Numbers, Numbers], ...]] = (
    (127.5, 127.5),
    (0.0, 255.0),
    (0.0, 1.0),
    ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
)
"""-1 to 1; 0 to 1; pixels as they are; ImageNet's mean and deviation."""


def normalisation(tensor: TensorSpec, stated: Stated, first: Affine | None) -> Known:
    """Return mean and std by the file, or else the assumed ones.

    first  the first layers, where they only scale
    """
    channels = tensor.shape[-1] if tensor.shape else 0
    usual = quantised(tensor)
    if stated.mean and {len(stated.mean), len(stated.std)} <= {1, channels}:
        known = Known(_number(stated.mean), _number(stated.std), "metadata")
        how = Preprocessing(mean=known.mean, std=known.std)
        if usual is None or not contradiction(how, tensor, None):
            return known
    if usual is not None:
        return Known(*usual, "quantisation")
    if tensor.dtype == np.float32 and first is not None:
        usual = scaled(first)
        if usual is not None:
            return Known(*usual, "first layers")
    return Known(*USUAL[0], "assumed")


def quantised(tensor: TensorSpec) -> tuple[Numbers, Numbers] | None:
    """Return the usual mean and std whose range is that of a quantised input."""
    if tensor.dtype == np.int16:  # symmetric: 0 to 1 looks the same as -1 to 1
        pixels = abs(tensor.scale * 32767 - 255) <= NEAR * 255
        return USUAL[2] if pixels else None
    if tensor.dtype not in (np.int8, np.uint8) or tensor.scale <= 0:
        return None
    low, high = covered(tensor)
    return _nearest(low, high, tensor.shape[-1])


def covered(tensor: TensorSpec) -> tuple[float, float]:
    """Return the least and the greatest real value of a quantised tensor."""
    bounds = np.iinfo(tensor.dtype)
    return (
        tensor.scale * (bounds.min - tensor.zero_point),
        tensor.scale * (bounds.max - tensor.zero_point),
    )


def scaled(first: Affine) -> tuple[Numbers, Numbers] | None:
    """Return the mean and std of pixels that a model's first layers scale themselves."""
    factor, offset = first.factor, first.offset
    widest = float(factor.max())
    if SPAN[0] <= 255 * widest <= SPAN[1] or (widest == 1 and offset.min() <= _MEAN_ONLY):
        return USUAL[2]
    if not SPAN[0] <= widest <= SPAN[1]:
        return None
    for usual, (low, high) in ((USUAL[1], (0.0, 1.0)), (USUAL[0], (-1.0, 1.0))):
        begin = float((factor * low + offset).min())
        if _nearest(begin, float((factor * high + offset).max()), 3) is not None:
            return usual
    return None


def contradiction(how: Preprocessing, tensor: TensorSpec, first: Affine | None) -> str:
    """Return how the file contradicts ``how``, with figures; empty where it does not."""
    card = f"mean {_text(how.mean)}, std {_text(how.std)}"
    if tensor.dtype in (np.int8, np.uint8):
        table = lookup_table(how, tensor)
        alike = 1 if table is None else _most_alike(table)
        usual = quantised(tensor)
        if alike <= SATURATED or usual == (how.mean, how.std):
            return ""
        low, high = covered(tensor)
        text = f"{card} maps {alike} of 256 pixel values onto one value of the input tensor;"
        text += f" the file's quantisation says real input {low:.4g} to {high:.4g}"
        return text + _hint(usual)
    usual = scaled(first) if tensor.dtype == np.float32 and first is not None else None
    if usual is None:
        return ""
    low, high = real_range(how.mean, how.std)
    least, most = real_range(*usual)
    if 0.25 <= (high - low) / (most - least) <= 4:
        return ""
    text = f"{card} gives real input {low:.4g} to {high:.4g}; the file's first layers scale"
    return text + f" input of {least:.4g} to {most:.4g}" + _hint(usual)


def _hint(usual: tuple[Numbers, Numbers] | None) -> str:
    return f": mean = {_text(usual[0])}, std = {_text(usual[1])}" if usual else ""


def _most_alike(table: NDArray[np.generic]) -> int:
    """Return how many pixel values share one tensor value, at most."""
    columns = table.reshape(256, -1)
    return max(int(np.unique(column, return_counts=True)[1].max()) for column in columns.T)


def _nearest(low: float, high: float, channels: int) -> tuple[Numbers, Numbers] | None:
    """Return the usual mean and std whose range is nearest, None where none is near."""
    distance: float = NEAR
    nearest: tuple[Numbers, Numbers] | None = None
    for usual in USUAL:
        if isinstance(usual[0], tuple) and channels != 3:
            continue
        least, most = real_range(*usual)
        off = max(abs(low - least), abs(high - most)) / (most - least)
        if off <= distance:
            distance, nearest = off, usual
    return nearest


def _number(values: tuple[float, ...]) -> Numbers:
    return values[0] if len(values) == 1 else values


def _text(numbers: Numbers) -> str:
    if isinstance(numbers, tuple):
        return "[" + ", ".join(f"{number:.6g}" for number in numbers) + "]"
    return f"{numbers:.6g}"
