"""Pixel values as values of the input tensor: a table of 256. Pure."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError
from edge.model.card import Preprocessing, TensorSpec

_PIXELS: Final = np.arange(256, dtype=np.float64)
LARGEST: Final = 1e6
"""Of a real input value; a mean or std that gives more is a mistake."""


def lookup_table(
    how: Preprocessing, tensor: TensorSpec
) -> NDArray[np.uint8] | NDArray[np.int16] | NDArray[np.float32] | None:
    """Return each pixel value as a value of the tensor, or None where they are the same.

    Result  (1, 256) or (1, 256, C): float32 for a float tensor, int16 for an int16 one; else the
            tensor's integers, as uint8 bits. A quantisation within half a step of the pixel's
            own value counts as the pixel: a model trained on pixel / 127.5 - 1 and quantised with
            scale 1 / 127.5 takes a camera's bytes unchanged.
    Source  real = (pixel - mean) / std; q = real / scale + zero_point (Jacob et al. 2018, eq. 1).
    """
    real = _real(how, tensor.shape[3])
    if tensor.dtype == np.float32:
        return real.astype(np.float32)
    if tensor.dtype not in (np.uint8, np.int8, np.int16) or not tensor.scale > 0:
        raise ModelError(
            "the input tensor has an unsupported type",
            expected="uint8, int8, int16 (quantised) or float32",
            got=f"{tensor.dtype} with scale {tensor.scale:g}",
        )
    with np.errstate(over="ignore"):
        quantised = real / tensor.scale + tensor.zero_point
    bounds = np.iinfo(tensor.dtype)
    same = _PIXELS.reshape(1, 256, *[1] * (real.ndim - 2)) + bounds.min
    if tensor.dtype.itemsize == 1 and np.max(np.abs(quantised - same)) <= 0.5 + 1e-3:
        if bounds.min == 0:
            return None
        quantised = np.broadcast_to(same, quantised.shape)
    rounded = np.clip(np.floor(quantised + 0.5), bounds.min, bounds.max)
    if tensor.dtype == np.int16:
        return rounded.astype(np.int16)
    return rounded.astype(tensor.dtype).view(np.uint8)


def _real(how: Preprocessing, channels: int) -> NDArray[np.float64]:
    """Return the real input of each pixel value, (1, 256), or (1, 256, C) where channels differ."""
    mean = np.atleast_1d(np.asarray(how.mean, np.float64))
    std = np.atleast_1d(np.asarray(how.std, np.float64))
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels) or not np.all(np.isfinite(values)):
            raise ModelError(
                f"`{name}` in [preprocessing] does not fit the input tensor",
                expected=f"one number, or {channels}",
                got=str(getattr(how, name)),
            )
    if not np.all(std > 0):
        raise ModelError("`std` in [preprocessing] must be above 0", got=str(how.std))
    with np.errstate(over="ignore"):
        real = (_PIXELS.reshape(1, 256, 1) - mean) / std
    if not np.abs(real).max() <= LARGEST:
        raise ModelError(
            "`mean` and `std` in [preprocessing] give no usable input",
            expected=f"real input of at most {LARGEST:g}",
            got=f"mean {how.mean}, std {how.std}",
        )
    return real if real.shape[2] > 1 else real[:, :, 0]


def real_range(
    mean: float | tuple[float, ...], std: float | tuple[float, ...]
) -> tuple[float, float]:
    """Return the least and the greatest real input that pixels give."""
    low = (0.0 - np.asarray(mean, np.float64)) / np.asarray(std, np.float64)
    high = (255.0 - np.asarray(mean, np.float64)) / np.asarray(std, np.float64)
    return float(low.min()), float(high.max())
