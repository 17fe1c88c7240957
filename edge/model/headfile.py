"""Reads the file of a head, an .npz of float32 arrays: ``numpy.savez`` writes it.

    weights  (F, C)   score = softmax(((features - mean) / std) @ weights + bias)
    bias     (C,)
    mean     (F,)     optional, together with std
    std      (F,)     above 0

Every shape and value is checked; a file that cannot be used is a ModelError.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge import files
from edge.errors import ModelError
from edge.model import npz

HEAD_MAX_BYTES: Final = 16 * 1_048_576
"""Of the file, and of what it unpacks to: 1,280 features and 3,000 labels."""
NAMES: Final = ("weights", "bias", "mean", "std")


class Head(NamedTuple):
    """The content of a head's file.

    path     of the file
    weights  (F, C) float32
    bias     (C,) float32
    mean     (F,) float32; 0 where the file has none
    std      (F,) float32, above 0; 1 where the file has none
    """

    path: Path
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]


def read(path: Path, sha256: str) -> Head:
    """Return the head in the file ``path``; raise ModelError unless its checksum is ``sha256``."""
    try:
        content = files.read(path, HEAD_MAX_BYTES)
    except OSError as exc:
        raise ModelError(f"the head cannot be read: {exc.strerror}", where=str(path)) from exc
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ModelError(
            "the head's file is not the one that its card describes",
            where=str(path),
            expected=f"sha256 {sha256[:16]}...",
            got=f"{digest[:16]}... ({len(content)} bytes)",
            hint="restore the file, or correct `sha256` in [head] if the change is intended",
        )
    arrays = npz.read(content, NAMES, HEAD_MAX_BYTES, str(path))
    _check_names(arrays, path)
    features = arrays["weights"].shape[0]
    _check_shapes(arrays, path)
    mean = arrays.get("mean", np.zeros(features, np.float32))
    std = arrays.get("std", np.ones(features, np.float32))
    return Head(path, arrays["weights"], arrays["bias"], mean, std)


def _check_names(arrays: npz.Arrays, path: Path) -> None:
    """Raise ModelError unless the arrays that a head needs are there."""
    for name in ("weights", "bias"):
        if name not in arrays:
            raise ModelError(f"the head has no array `{name}`", where=str(path))
    if ("mean" in arrays) != ("std" in arrays):
        raise ModelError("the head has one of `mean` and `std`, not both", where=str(path))


def _check_shapes(arrays: npz.Arrays, path: Path) -> None:
    """Raise ModelError unless shapes agree, and values can be computed with."""
    weights = arrays["weights"]
    if weights.ndim != 2 or weights.shape[1] < 2:
        raise ModelError(
            "the head's `weights` are no map from features to labels",
            where=str(path),
            expected="(features, labels), at least 2 labels",
            got=str(weights.shape),
        )
    lengths = {"bias": weights.shape[1], "mean": weights.shape[0], "std": weights.shape[0]}
    for name, array in arrays.items():
        shape = (lengths[name],) if name in lengths else weights.shape
        if array.shape != shape:
            raise ModelError(
                f"the head's `{name}` does not fit its `weights`",
                where=str(path),
                expected=str(shape),
                got=str(array.shape),
            )
        if not np.isfinite(array).all():
            raise ModelError(f"not all values of the head's `{name}` are finite", where=str(path))
    if "std" in arrays and not (arrays["std"] > 0).all():
        least = str(float(arrays["std"].min()))
        raise ModelError("the head's `std` must be above 0", where=str(path), got=least)
