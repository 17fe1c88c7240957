"""A baseline: for each figure the range and the histogram that a model was taught with.

    edges   (n, 11) ascending: the taught range, widened by the figure's slack, in ten bins of as
            many values each; n figures in the order of ``FIGURES``, with features 9, without 8
    shares  (n, 12) of the values: below the range, in each bin, above it
    total   (1,) pictures
    mean    (F,) of the features, and std; both or neither

A file of one has these float32 arrays, as ``numpy.savez`` writes them. Pure.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.baseline.figures import DISTANCE, FIGURES, OF_PICTURES, OF_SCORES

Floats = NDArray[np.float32]

BINS: Final = 10
BLOCK: Final = 256
"""Pictures whose features are looked at together."""
FEWEST: Final = 20
"""Pictures; the range of fewer says little."""
MOST: Final = 10_000_000
"""Pictures; float32 counts them."""
LARGEST: Final = 1e9
"""Of any value; figures have a few units, features some hundreds."""
STD_MIN: Final = 1e-6
"""Of a feature; less could not be computed with."""
STD_SHARE: Final = 1e-3
"""Of the mean standard deviation; less is taken for so much: a feature that was always the same
would outweigh all others."""


class Baseline(NamedTuple):
    """Checked: see the header. total: pictures; mean, std: None without features."""

    edges: Floats
    shares: Floats
    total: int
    mean: Floats | None = None
    std: Floats | None = None


def build(figures: Floats, features: Floats | None = None) -> Baseline:
    """Return the baseline of N pictures, at least ``FEWEST``.

    figures   (N, 8): of the pictures, then of their scores, in the order of ``FIGURES``; scores of
              a network that was taught with the same pictures are too sure: give those of a
              cross-validation where there is one
    features  (N, F) of the network below a head
    Raises ValueError where shapes or values cannot be used.
    """
    total = len(figures)
    if figures.shape != (total, len(OF_PICTURES) + len(OF_SCORES)) or total < FEWEST:
        raise ValueError(f"no baseline of {figures.shape}: expected {FEWEST} or more rows of 8")
    mean = std = None
    rows = FIGURES[: figures.shape[1]]
    if features is not None:
        if features.ndim != 2 or len(features) != total:
            raise ValueError(f"features of {features.shape} for {total} pictures")
        mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        std = _std(features, mean)
        std = np.maximum(std, max(float(std.mean()) * STD_SHARE, 2 * STD_MIN))
        far = [distances(features[rows], mean, std) for rows in _blocks(total)]
        figures = np.column_stack([figures, np.concatenate(far)])
        rows = (*rows, DISTANCE)
    edges = np.empty((len(rows), BINS + 1), np.float32)
    shares = np.empty((len(rows), BINS + 2), np.float32)
    for index, figure in enumerate(rows):
        values = figures[:, index].astype(np.float64)
        cuts = _quantiles(values, np.linspace(figure.tail, 1 - figure.tail, BINS + 1))
        for end, sign in ((0, -1), (BINS, 1)):
            cuts[end] += sign * (figure.slack + figure.relative * abs(cuts[end]))
        edges[index] = cuts
        bins = np.searchsorted(edges[index], values.astype(np.float32), side="right")
        bins[values.astype(np.float32) == edges[index, -1]] = BINS  # the range has both its ends
        shares[index] = np.bincount(bins, minlength=BINS + 2) / total
    made = {"edges": edges, "shares": shares, "total": np.array([total], np.float32)}
    if mean is not None and std is not None:
        made |= {"mean": mean, "std": std}
    return checked(made)


def _quantiles(values: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what np.quantile does, which would import numpy.ma: a device learns between frames."""
    places = np.arange(len(values), dtype=np.float64)
    return np.interp(shares * (len(values) - 1), places, np.sort(values))


def _std(features: Floats, mean: Floats) -> Floats:
    """Return the standard deviation of each feature; no array of all of them is allocated."""
    square = np.zeros(features.shape[1])
    for rows in _blocks(len(features)):
        square += ((features[rows] - mean.astype(np.float64)) ** 2).sum(axis=0)
    deviation: Floats = np.sqrt(square / len(features)).astype(np.float32)
    return deviation


def _blocks(total: int) -> list[slice]:
    return [slice(begin, begin + BLOCK) for begin in range(0, total, BLOCK)]


def distances(features: Floats, mean: Floats, std: Floats) -> Floats:
    """Return how far features, (N, F) or (F,), are from the mean: (N,), or a number."""
    with np.errstate(over="ignore"):  # infinitely far
        off = (features - mean) / std
        far: Floats = np.sqrt(np.mean(np.square(off, out=off), axis=-1))
    return far


def encode(baseline: Baseline) -> bytes:
    """Return the bytes of a baseline's file."""
    arrays: dict[str, Any] = {"edges": baseline.edges, "shares": baseline.shares}
    arrays["total"] = np.array([baseline.total], np.float32)
    if baseline.mean is not None and baseline.std is not None:
        arrays |= {"mean": baseline.mean, "std": baseline.std}
    made = io.BytesIO()
    np.savez(made, **arrays)
    return made.getvalue()


def checked(arrays: Mapping[str, Floats]) -> Baseline:
    """Return the baseline in these arrays. Raises ValueError, one line, where they are none."""
    missing = [name for name in ("edges", "shares", "total") if name not in arrays]
    if missing:
        raise ValueError(f"it has no array `{missing[0]}`")
    if ("mean" in arrays) != ("std" in arrays):
        raise ValueError("it has one of `mean` and `std`, not both")
    with_features = "mean" in arrays
    rows = len(FIGURES) if with_features else len(FIGURES) - 1
    features = arrays["mean"].shape[:1] if with_features else ()
    for name, shape in (
        ("edges", (rows, BINS + 1)),
        ("shares", (rows, BINS + 2)),
        ("total", (1,)),
        *((name, features) for name in ("mean", "std") if with_features),
    ):
        array = arrays[name]
        if array.shape != shape:
            raise ValueError(f"its `{name}` has the shape {array.shape}: expected {shape}")
        if not (np.abs(array) <= LARGEST).all():  # not of a NaN either
            raise ValueError(f"not all values of its `{name}` are numbers up to {LARGEST:g}")
    edges, shares, total = arrays["edges"], arrays["shares"], float(arrays["total"][0])
    if (np.diff(edges, axis=1) < 0).any():
        raise ValueError("its `edges` do not ascend")
    if (shares < 0).any() or (np.abs(shares.sum(axis=1) - 1) > 1e-3).any():
        raise ValueError("its `shares` are no shares: expected rows with the sum 1")
    if not (FEWEST <= total <= MOST and total.is_integer()):
        raise ValueError(f"it is of {total:g} pictures: expected {FEWEST} to {MOST}")
    if with_features and not (arrays["std"] >= STD_MIN).all():
        raise ValueError(f"its `std` must be {STD_MIN:g} or more")
    return Baseline(edges, shares, int(total), arrays.get("mean"), arrays.get("std"))
