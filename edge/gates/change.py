"""Compares frames with the last one that was classified: nothing has changed, the light, or more.

The reference's samples (luma.py) are made as bright, row by row, as the frame's are, which takes
away exposure, lamps that flicker and the bands that a rolling shutter makes of them. Where the
reference is saturated its true brightness is unknown: only what is darker now counts. What is left
is compared block by block, in two ways: by the mean difference, which sees what is small and pale,
and by the mean square, which sees another texture of the same brightness. A block has changed where
either is above what noise explains.

Noise is learnt for each block, from frames that follow the reference at once: what comes in slowly
is never taken for noise.

Pure: no clock. Nothing is allocated but a few hundred bytes. Runs on the caller's thread.
"""

from __future__ import annotations

from typing import Final, Literal

import cv2
import numpy as np

from edge.frames import Frame
from edge.gates.luma import Grid, Sampler, blocks

Verdict = Literal["", "first", "light", "motion"]

MEAN_FLOOR: Final = 1.5**2
SQUARE_FLOOR: Final = 2.5**2
"""Differences in a scene without noise, squared levels of 0 to 255: rounding, compression."""
MEAN_NOISE: Final = 5.0**2
SQUARE_NOISE: Final = 3.0
"""Above so many times the noise a block has changed: five deviations of its mean; of the square of
64 samples about eleven, because noise may be in clusters."""
NOISE_MOST: Final = 150.0
"""Squared levels that a block's noise may learn from one frame, or four times the picture's noise
if that is more: an animal that moves about is not taken for noise."""
LEARN, LEARN_CLUSTER = 1 / 8, 1 / 32
"""Shares of a new value that the noise, and how it clusters, take on in a frame."""
CLUSTER_MAX: Final = 16.0
SATURATED: Final = 254
DARK: Final = 1.0
"""Level added to both brightnesses before they are compared: a black row has none."""
LIGHT_LEAST, LIGHT_MOST = 0.06, 0.5
"""Relative change of the light in a twelfth of the picture that counts."""
USED_TO, FORGET = 1.3, 0.9
"""Factors of that: after a change that was harmless, and after a time without any."""


class Change:
    """The reference, and the noise. ``compare`` a frame; ``keep`` it once it is classified."""

    def __init__(self) -> None:
        self._sample = Sampler()
        self._known = False
        self._light = LIGHT_LEAST
        self._reference: Grid
        self._reference_rows: Grid
        self._prepare((0, 0))

    @property
    def noise(self) -> float:
        """Of one sample, the median of all blocks: standard deviation in levels of 0 to 255."""
        ordered = np.sort(self._noise, axis=None)  # np.median would import numpy.ma, in a frame
        return float(ordered[len(ordered) // 2] / 2) ** 0.5 if len(ordered) else 0.0

    def compare(self, frame: Frame, follows: bool) -> Verdict:
        """Return what has changed since the reference.

        follows  the frame comes right after it, so that what differs may be noise
        """
        picked = self._sample(frame)
        if picked.shape != self._now.shape:
            self._prepare(picked.shape)
            self._known, self._light = False, LIGHT_LEAST
        np.copyto(self._now, picked)
        if not self._known:
            return "first"
        self._sum_rows(self._now, self._rows)
        np.divide(self._rows, self._reference_rows, out=self._gain)
        least, most = float(self._gain.min()), float(self._gain.max())
        moved = self._has_moved(brighter=most > 1, follows=follows)
        if moved:
            return "motion"
        if most > 1 + self._light or least < 1 / (1 + self._light):  # of single rows
            size = (1, self._bands.shape[0])
            cv2.resize(self._gain, size, dst=self._bands, interpolation=cv2.INTER_AREA)
            least, most = float(self._bands.min()), float(self._bands.max())
            if most > 1 + self._light or least < 1 / (1 + self._light):
                return "light"
        return ""

    def keep(self) -> None:
        """The frame that was compared last has been classified: it is the reference."""
        self._now, self._reference = self._reference, self._now
        self._saturated = bool(self._reference.max() >= SATURATED)
        if self._saturated:
            np.less(self._reference, SATURATED, out=self._below)
            np.copyto(self._usable, self._below)
            np.multiply(self._usable, 255, out=self._room)
        self._sum_rows(self._reference, self._reference_rows)
        self._known = True

    def light_was(self, harmless: bool) -> None:
        """The light has changed, and the label has not (harmless), or it has or may have."""
        self._light = min(LIGHT_MOST, self._light * USED_TO) if harmless else LIGHT_LEAST

    def light_lasts(self) -> None:
        """It has not changed for a time."""
        self._light = max(LIGHT_LEAST, self._light * FORGET)

    def _prepare(self, shape: tuple[int, ...]) -> None:
        height, width = shape
        self._now, self._reference, self._difference = np.zeros((3, height, width), np.float32)
        self._rows, self._reference_rows, self._gain = np.zeros((3, height, 1), np.float32)
        self._saturated = False  # somewhere
        self._below = np.zeros(shape, np.bool_)
        self._usable, self._room = np.zeros((2, height, width), np.float32)  # 0 there, or 1, 255
        size = blocks(max(1, height), max(1, width))
        self._in_block = max(1, height * width) / (size[0] * size[1])
        self._noise: Grid = np.zeros(size, np.float32)  # mean square, of two frames' difference
        self._cluster = 1.0  # variance of a block's mean, as a multiple of independent samples'
        self._differences = np.zeros((2, *size), np.float32)
        self._limits = np.zeros((2, *size), np.float32)
        self._above = np.zeros((2, *size), np.bool_)
        self._bands = np.zeros((size[0], 1), np.float32)
        self._set_limits()

    def _sum_rows(self, grid: Grid, out: Grid) -> None:
        """Write the brightness of each row into ``out``, (h, 1), of the samples that have one."""
        if self._saturated:
            grid = np.multiply(grid, self._usable, out=self._difference)
        # not cv2.reduce: it wakes OpenCV's threads, which then spin for 0.2 ms
        np.add.reduce(grid, axis=1, keepdims=True, out=out, initial=DARK * grid.shape[1])

    def _has_moved(self, brighter: bool, follows: bool) -> bool:
        """Return whether any block has changed; learn its noise where the frame ``follows``."""
        difference, (mean, square) = self._difference, self._differences
        np.multiply(self._reference, self._gain, out=difference)
        if brighter:
            np.minimum(difference, 255, out=difference)
        np.subtract(self._now, difference, out=difference)
        if self._saturated:
            np.minimum(difference, self._room, out=difference)
        size = mean.shape[::-1]
        cv2.resize(difference, size, dst=mean, interpolation=cv2.INTER_AREA)
        np.multiply(difference, difference, out=difference)
        cv2.resize(difference, size, dst=square, interpolation=cv2.INTER_AREA)
        np.multiply(mean, mean, out=mean)
        np.greater(self._differences, self._limits, out=self._above)
        moved = bool(self._above.any())
        if follows:
            self._learn(mean, square)
        return moved

    def _learn(self, mean: Grid, square: Grid) -> None:
        most = max(NOISE_MOST, 4 * float(self._noise.mean()))
        self._noise += (np.minimum(square, most) - self._noise) * LEARN
        ratio = np.minimum(mean * self._in_block / (self._noise + 1e-3), CLUSTER_MAX)
        self._cluster += (float(ratio.mean()) - self._cluster) * LEARN_CLUSTER
        self._set_limits()

    def _set_limits(self) -> None:
        factor = MEAN_NOISE * max(1.0, self._cluster) / self._in_block
        np.multiply(self._noise, factor, out=self._limits[0])
        np.multiply(self._noise, SQUARE_NOISE, out=self._limits[1])
        self._limits[0] += MEAN_FLOOR
        self._limits[1] += SQUARE_FLOOR
