"""Figures of a picture, as the model gets it, and of the scores for it.

Each figure has a row in ``FIGURES``: what it means where it leaves the taught range, and how much
room that range is given. Pure; runs on the caller's thread.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

DARKER: Final = "darker than anything it was taught"
BRIGHTER: Final = "brighter than anything it was taught"
FLATTER: Final = "less contrast than anything it was taught"
BLURRED: Final = "out of focus"
COLOURS: Final = "colours differ"
STRANGE: Final = "looks like nothing it was taught"
UNSURE: Final = "scores less sure than when taught"
REASONS: Final = (DARKER, BRIGHTER, FLATTER, BLURRED, COLOURS, STRANGE, UNSURE)
"""Causes before their consequences: a dark picture has other colours, and unsure scores, too."""

OF_THE_MODEL: Final = (STRANGE, UNSURE)
"""What depends on the model, and not on light and camera alone."""


class Figure(NamedTuple):
    """One figure.

    low, high  reason where it is below, or above, what was taught; empty: not watched
    tail       share of the taught values that lie beyond each end of the taught range
    slack      by which the range is widened at both ends, and ``relative`` that share of the end:
               pictures of an hour are more alike than those of a year
    """

    name: str
    low: str
    high: str
    tail: float
    slack: float
    relative: float = 0.0


OF_PICTURES: Final = (
    Figure("brightness", DARKER, BRIGHTER, 0.005, 0.04),
    Figure("contrast", FLATTER, "", 0.005, 0.0, 0.25),
    Figure("sharpness", BLURRED, "", 0.005, 0.0, 0.25),
    Figure("warmth", COLOURS, COLOURS, 0.005, 0.04),
    Figure("tint", COLOURS, COLOURS, 0.005, 0.04),
    Figure("chroma", COLOURS, COLOURS, 0.005, 0.02),
)
"""brightness  mean of the grey picture, 0 to 1
contrast    its standard deviation, 0 to 0.5
sharpness   standard deviation of its Laplacian, as a share of its own
warmth      (R - B) / (R + G + B) of the mean colour, tint the same of 2 G - R - B
chroma      mean of |R - G| + |G - B|, of 32x32 parts, 0 to 2"""
OF_SCORES: Final = (
    Figure("margin", UNSURE, "", 0.05, 0.05),
    Figure("entropy", "", UNSURE, 0.05, 0.05),
)
"""margin   the best score less the second
entropy  of the scores, as a share of the largest there can be"""
DISTANCE: Final = Figure("distance", "", STRANGE, 0.02, 0.0, 0.1)
"""Of the features from their taught mean: root mean square, in taught standard deviations."""
FIGURES: Final = (*OF_PICTURES, *OF_SCORES, DISTANCE)

SIDE_MAX: Final = 256
"""Pixels; a larger picture is measured on a smaller copy."""
COARSE: Final = 32
DARK: Final = 30.0
"""Added to R + G + B, of 765: the colour of a black picture is noise."""
FLAT: Final = 2.0
"""Added to the contrast, of 255, under the sharpness: the same for noise."""


class Gauge:
    """Measures the pictures of one model; owns every buffer it needs.

    color  of its pixels: rgb, bgr or gray
    """

    def __init__(self, color: str) -> None:
        self._color = color
        self._to_grey = cv2.COLOR_RGB2GRAY if color == "rgb" else cv2.COLOR_BGR2GRAY
        self._fitted = self._grey = np.empty(0, np.uint8)
        self._laplacian = np.empty(0, np.int16)
        self._coarse = np.empty((COARSE, COARSE, 3), np.uint8)

    def measure(self, pixels: Pixels, out: NDArray[np.float32]) -> None:
        """Write the figures of a picture into ``out``, (6,) in the order of ``OF_PICTURES``.

        pixels  (H, W, 3), or (H, W) where the colour is gray
        """
        pixels = self._fit(pixels)
        shape = pixels.shape[:2]
        if self._laplacian.shape != shape:
            self._grey, self._laplacian = np.empty(shape, np.uint8), np.empty(shape, np.int16)
        grey = pixels
        if pixels.ndim == 3:
            grey = self._grey
            cv2.cvtColor(pixels, self._to_grey, dst=grey)
        mean, spread = _moments(grey)
        cv2.Laplacian(grey, cv2.CV_16S, dst=self._laplacian)
        out[0], out[1] = mean / 255, spread / 255
        out[2] = _moments(self._laplacian)[1] / (spread + FLAT)
        out[3:6] = self._colours(pixels) if pixels.ndim == 3 else 0.0

    def _fit(self, pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        scale = SIDE_MAX / max(height, width)
        if scale >= 1:
            return pixels
        shape = (max(1, round(height * scale)), max(1, round(width * scale)), *pixels.shape[2:])
        if self._fitted.shape != shape:
            self._fitted = np.empty(shape, np.uint8)
        cv2.resize(pixels, shape[1::-1], dst=self._fitted, interpolation=cv2.INTER_AREA)
        return self._fitted

    def _colours(self, pixels: Pixels) -> tuple[float, float, float]:
        size = self._coarse.shape[:2]
        cv2.resize(pixels, size, dst=self._coarse, interpolation=cv2.INTER_AREA)
        first, green, last, _ = cv2.mean(self._coarse)
        red, blue = (first, last) if self._color == "rgb" else (last, first)
        total = red + green + blue + DARK
        steps = np.diff(self._coarse.astype(np.int16), axis=2)
        chroma = float(np.abs(steps).sum()) / (COARSE * COARSE * 255)
        return (red - blue) / total, (2 * green - red - blue) / total, chroma


def score_figures(scores: NDArray[np.float32]) -> tuple[float, float]:
    """Return margin and entropy of a frame's scores, (C,) probabilities."""
    total = len(scores)
    if total < 2:
        return float(scores[0]), 0.0
    second, best = np.partition(scores, total - 2)[-2:]
    shares = np.clip(scores, 1e-6, 1.0)
    entropy = -float(np.dot(shares, np.log(shares))) / math.log(total)
    return float(best - second), entropy


def joined(pictures: NDArray[np.float32], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return figures of pictures, (N, 6), with those of their scores, (N, C): (N, 8)."""
    rows = np.array([score_figures(row) for row in scores], np.float32)
    return np.column_stack([pictures, rows.reshape(len(scores), len(OF_SCORES))])


def _moments(grey: NDArray[np.uint8] | NDArray[np.int16]) -> tuple[float, float]:
    mean, spread = cv2.meanStdDev(grey)
    return float(mean[0, 0]), float(spread[0, 0])
