"""Batches of augmented views, with their targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import keras
import numpy as np
from numpy.typing import NDArray

from models import augment, backbones, data, dataset
from models.scenes import Scenes
from models.schedule import Stage

BATCH: Final = 64


@dataclass(frozen=True, slots=True)
class Lessons:
    """What the training pictures teach.

    views    (V,) the views that have targets
    targets  (N, V, C) of each view
    labels   (N, C) smoothed labels: targets of a picture in a scene
    cutouts  (N, M, M) bool, where the subject is; None without a teacher
    """

    views: NDArray[np.int64]
    targets: NDArray[np.float32]
    labels: NDArray[np.float32]
    cutouts: NDArray[np.bool_] | None


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # keras is untyped
    """Augmented batches of the training pictures, drawn from all sources by ``data.mix``."""

    def __init__(
        self,
        corpus: dataset.Dataset,
        stage: Stage,
        backbone: backbones.Backbone,
        lessons: Lessons,
        seed: int,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self._indices = corpus.indices("train")
        self._stage, self._backbone, self._seed = stage, backbone, seed
        usable = lessons.views >= stage.views
        self._ids, self._targets = lessons.views[usable], lessons.targets[:, usable]
        self._labels, self._scenes = lessons.labels, None
        if lessons.cutouts is not None and stage.scenes:
            self._scenes = Scenes(corpus, lessons.cutouts, stage.side, seed)
        self._often = data.mix([corpus.samples[i] for i in self._indices])
        self._make = augment.Views(corpus, stage.side, seed)
        self._epoch = 0
        self.on_epoch_end()

    def __len__(self) -> int:
        """Return the batches in an epoch."""
        return -(-len(self._indices) // BATCH)

    def __getitem__(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return pictures (B, side, side, 3), the network's real input, and targets (B, C)."""
        places = range(len(self._order))[number * BATCH : (number + 1) * BATCH]
        pictures = np.empty((len(places), self._stage.side, self._stage.side, 3), np.uint8)
        targets = np.empty((len(places), self._targets.shape[2]), np.float32)
        for slot, place in enumerate(places):
            row, view = int(self._order[place]), int(self._views[place])
            if self._scenes and self._in_scene[place] and self._scenes.possible[row]:
                picture = self._scenes.picture(row, (self._epoch << 32) + place)
                targets[slot] = self._labels[row]
            else:
                picture = self._make.geometry(int(self._indices[row]), int(self._ids[view]))
                targets[slot] = self._targets[row, view]
            if self._changed[place]:
                picture = self._make.camera(picture, place, self._epoch)
            pictures[slot] = picture
        return data.to_input(pictures, self._backbone.mean, self._backbone.std), targets

    def on_epoch_end(self) -> None:
        """Draw the pictures and views of the next epoch."""
        self._epoch += 1
        random = np.random.default_rng((self._seed, len(self._stage.name), self._epoch))
        # Whole parts of the frequency for certain, the rest by chance.
        times = np.floor(self._often + random.random(len(self._often))).astype(np.int64)
        drawn = random.permutation(np.repeat(np.arange(len(times)), times))
        self._order = np.resize(drawn, len(times))
        self._views = random.integers(0, len(self._ids), len(self._order))
        self._changed = random.random(len(self._order)) < self._stage.camera
        self._in_scene = random.random(len(self._order)) < self._stage.scenes
