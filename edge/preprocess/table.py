"""What each value of a pixel is in the input tensor. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError
from edge.modelcard import Preprocessing, TensorSpec


def lookup_table(
    how: Preprocessing, tensor: TensorSpec
) -> NDArray[np.uint8] | NDArray[np.float32] | None:
    """Return what each pixel value is in the tensor, or None where it is the pixel itself.

    Result  (1, 256) or (1, 256, C): float32 for a float tensor; else the tensor's integers,
            as uint8 bits. A quantisation within half a step of the pixel's own value counts
            as the pixel: a model trained on pixel / 127.5 - 1 and quantised with scale
            1 / 127.5 takes camera bytes as they are.
    Source  real = (pixel - mean) / std; q = real / scale + zero_point (Jacob et al. 2018, eq. 1).
    """
    mean = np.atleast_1d(np.asarray(how.mean, np.float64))
    std = np.atleast_1d(np.asarray(how.std, np.float64))
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, tensor.shape[3]) or not np.all(np.isfinite(values)):
            raise ModelError(
                f"`{name}` in [preprocessing] does not fit the input tensor",
                expected=f"one number, or {tensor.shape[3]}",
                got=str(getattr(how, name)),
            )
    if not np.all(std > 0):
        raise ModelError("`std` in [preprocessing] must be above 0", got=str(how.std))
    per_channel = max(len(mean), len(std)) > 1
    pixel = np.arange(256, dtype=np.float64).reshape(1, 256, 1)
    real = (pixel - mean) / std
    if not per_channel:
        real = real[:, :, 0]
        pixel = pixel[:, :, 0]
    if tensor.dtype == np.float32:
        return real.astype(np.float32)
    if tensor.dtype not in (np.uint8, np.int8) or tensor.scale <= 0:
        raise ModelError(
            "input tensor has a type this program does not feed",
            expected="uint8, int8 (quantised) or float32",
            got=f"{tensor.dtype} with scale {tensor.scale:g}",
        )
    quantised = real / tensor.scale + tensor.zero_point
    lowest = np.iinfo(tensor.dtype).min
    if np.max(np.abs(quantised - (pixel + lowest))) <= 0.5 + 1e-3:
        if lowest == 0:
            return None
        quantised = np.broadcast_to(pixel + lowest, quantised.shape)
    bounds = np.iinfo(tensor.dtype)
    rounded = np.clip(np.floor(quantised + 0.5), bounds.min, bounds.max)
    return rounded.astype(tensor.dtype).view(np.uint8)
