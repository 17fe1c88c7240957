"""Near-duplicates: pictures that differ in size, quality or a few pixels only."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

NEAR_BITS: Final = 6
"""Pictures whose 128 bits of hash differ in at most so many are near-duplicates."""


def fingerprint(pixels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return a picture's perceptual and difference hash, (2,) uint64. Source: imagehash."""
    import imagehash
    from PIL import Image

    picture = Image.fromarray(pixels).convert("L")
    bits = np.concatenate([f(picture).hash.ravel() for f in (imagehash.phash, imagehash.dhash)])
    return np.packbits(bits).view(np.uint64)


def near_groups(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the group of each of (N, 2) hashes, (N,): the lowest index within near steps."""
    group = np.arange(len(hashes))

    def root(index: int) -> int:
        while group[index] != index:
            group[index] = group[group[index]]
            index = int(group[index])
        return index

    for index in range(1, len(hashes)):
        bits = np.bitwise_count(hashes[:index] ^ hashes[index]).sum(axis=1)
        for other in np.flatnonzero(bits <= NEAR_BITS):
            low, high = sorted((root(index), root(int(other))))
            group[high] = low
    return np.array([root(index) for index in range(len(group))])


def contradictions(labels: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which samples are near-duplicates of one in another class, (N,)."""
    lowest = np.full(len(labels), labels.max(initial=0) + 1)
    highest = np.full(len(labels), -1)
    np.minimum.at(lowest, groups, labels)
    np.maximum.at(highest, groups, labels)
    return np.asarray((lowest != highest)[groups])
