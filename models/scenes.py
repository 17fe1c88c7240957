"""Pictures with their subject cut out, turned small into a background picture.

Classifiers are taught with portraits; a camera on a wall sees a small animal in a large room. The
cutouts are the teacher's (``cutouts``). A background picture is cut in the shape of a subject: the
trace of scissors must not give the class away. Source: Dwibedi, Misra, Hebert 2017 (cut, paste and
learn).
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models import data, dataset

Picture = NDArray[np.uint8]
SIDE: Final = (0.2, 0.7)
"""Longer side of a subject, as a share of the scene's."""
OUTSIDE: Final = 0.2
"""Share of the subject that may lie beyond the scene's edge."""
STRETCH: Final = 1.25
LEAST: Final = 6
"""Fewest pixels on each side of a cutout, in its mask."""


class Scenes:
    """Puts training pictures into scenes, (side, side, 3) uint8 RGB.

    cutouts  (N, M, M) bool, where the subject is, for each training picture; none for background
    """

    def __init__(
        self, corpus: dataset.Dataset, cutouts: NDArray[np.bool_], side: int, seed: int
    ) -> None:
        self._pictures, self._scenes = corpus.pictures, corpus.scenes
        self._train = corpus.indices("train")
        self._cutouts, self._side, self._seed = cutouts, side, seed
        rows, columns = cutouts.any(2).sum(1), cutouts.any(1).sum(1)
        self._usable = (rows >= LEAST) & (columns >= LEAST)
        self._shapes = np.flatnonzero(self._usable)
        background = np.isin(self._train, self._scenes)
        self.possible = (self._usable | background) & bool(len(self._scenes) and len(self._shapes))
        """Which training pictures can be put into a scene, (N,)."""

    def picture(self, row: int, number: int) -> Picture:
        """Return training picture ``row`` in a scene; another scene for each ``number``."""
        random = np.random.default_rng((self._seed, number))
        scene = data.stretch(self._pictures[int(random.choice(self._scenes))], self._side)
        shape = row if self._usable[row] else int(random.choice(self._shapes))
        subject, mask = self._cut(self._train[row], self._cutouts[shape], random)
        if random.random() < 0.5:
            scene = scene[:, ::-1]
        gain = (scene.mean() + 8) / (subject.mean() + 8)
        lit = cv2.convertScaleAbs(subject, alpha=gain ** random.uniform(0, 0.6))
        height, width = mask.shape
        room = np.array([self._side - height, self._side - width])
        beyond = OUTSIDE * np.array([height, width])
        top, left = np.round(random.uniform(-beyond, room + beyond)).astype(int)
        rows = slice(max(top, 0), min(top + height, self._side))
        columns = slice(max(left, 0), min(left + width, self._side))
        inner = (
            slice(rows.start - top, rows.stop - top),
            slice(columns.start - left, columns.stop - left),
        )
        share = mask[inner][..., None]
        mixed = np.array(scene)
        mixed[rows, columns] = share * lit[inner] + (1 - share) * scene[rows, columns]
        return mixed

    def _cut(
        self, index: np.int64, cutout: NDArray[np.bool_], random: np.random.Generator
    ) -> tuple[Picture, NDArray[np.float32]]:
        """Return the part of a picture under a cutout, at a random size, and its mask, 0 to 1."""
        left, top, width, height = cv2.boundingRect(cutout.astype(np.uint8))
        picture = self._pictures[index]
        scale = np.array(picture.shape[:2]) / cutout.shape
        begin = np.floor(scale * (top, left)).astype(int)
        end = np.ceil(scale * (top + height, left + width)).astype(int)
        part = picture[begin[0] : end[0], begin[1] : end[1]]
        mask = cutout[top : top + height, left : left + width].astype(np.float32)
        longer = self._side * random.uniform(*SIDE)
        sides = np.array([width, height]) * longer / max(width, height)
        sides[random.integers(2)] /= random.uniform(1, STRETCH)
        size = (max(2, round(sides[0])), max(2, round(sides[1])))
        small = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
        soft = cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR)
        faded = np.asarray(cv2.GaussianBlur(soft, (0, 0), random.uniform(0.5, 1.5)), np.float32)
        turned = slice(None, None, int(random.choice([-1, 1])))
        return small[:, turned], faded[:, turned]
