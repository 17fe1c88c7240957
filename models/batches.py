"""Training schedule of the student, and batches of augmented views with their targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import keras
import numpy as np
from numpy.typing import NDArray

from models import augment, data, dataset

BATCH: Final = 64


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the schedule.

    first  the first layer that learns; None: only the head
    rate   highest learning rate; it rises from 0 in WARM_UP_STEPS, then falls to 0 as a cosine
    side   input size, pixels: small pictures first, which are cheaper
    whole  views of about the whole picture, at about the daemon's distance
    """

    name: str
    first: str | None
    epochs: int
    rate: float
    side: int
    whole: bool = False


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # keras is untyped
    """Augmented batches of the training pictures: another order and other views every epoch."""

    def __init__(
        self,
        corpus: dataset.Dataset,
        stage: Stage,
        views: NDArray[np.int64],
        targets: NDArray[np.float32],
        seed: int,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self._pictures, self._indices = corpus.pictures, corpus.indices("train")
        self._stage, self._seed = stage, seed
        usable = (views >= augment.WIDE_VIEWS) == stage.whole
        self._ids, self._targets = views[usable], targets[:, usable]
        classes = corpus.classes[self._indices]
        self._weights = data.class_weights(classes, len(corpus.labels))[classes]
        self._make = augment.Views(stage.side, seed, corpus.how.central_fraction)
        self._epoch = 0
        self.on_epoch_end()

    def __len__(self) -> int:
        """Return the batches in an epoch."""
        return -(-len(self._indices) // BATCH)

    def __getitem__(self, number: int) -> tuple[NDArray[np.float32], ...]:
        """Return pictures (B, side, side, 3) in -1 to 1, targets (B, K) and weights (B,)."""
        rows = self._order[number * BATCH : (number + 1) * BATCH]
        pictures = np.empty((len(rows), self._stage.side, self._stage.side, 3), np.uint8)
        targets = np.empty((len(rows), self._targets.shape[2]), np.float32)
        for place, row in enumerate(rows):
            index, view = int(self._indices[row]), (self._epoch + row) % len(self._ids)
            picture = self._make.geometry(self._pictures[index], index, int(self._ids[view]))
            pictures[place] = self._make.camera(picture, index, self._epoch)
            targets[place] = self._targets[row, view]
        return data.to_input(pictures), targets, self._weights[rows]

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch."""
        self._epoch += 1
        random = np.random.default_rng((self._seed, len(self._stage.name), self._epoch))
        self._order = random.permutation(len(self._indices))
