"""What the student is shown, and what it is to say of it: stages and batches."""

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
    """A stretch of the schedule.

    first  the layer from which on the network learns; None: the head alone
    rate   highest learning rate; it rises from 0 in WARM_UP_STEPS, then falls to 0 as a cosine
    side   input size, pixels: small pictures first, which are cheaper
    whole  views of about the whole picture, as the daemon sees it, at about its distance
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
        found: dataset.Dataset,
        stage: Stage,
        views: NDArray[np.int64],
        targets: NDArray[np.float32],
        seed: int,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self._pictures, self._indices = found.pictures, found.indices("train")
        self._stage, self._seed = stage, seed
        mine = (views >= augment.WIDE_VIEWS) == stage.whole
        self._ids, self._targets = views[mine], targets[:, mine]
        classes = found.classes[self._indices]
        self._weights = data.class_weights(classes, len(found.labels))[classes]
        self._make = augment.Views(stage.side, seed, found.how.central_fraction)
        self._epoch = 0
        self.on_epoch_end()

    def __len__(self) -> int:
        """Return the batches in an epoch."""
        return -(-len(self._indices) // BATCH)

    def __getitem__(self, number: int) -> tuple[NDArray[np.float32], ...]:
        """Return pictures (B, side, side, 3) in -1 to 1, targets (B, K) and weights (B,)."""
        rows = self._order[number * BATCH : (number + 1) * BATCH]
        shown = np.empty((len(rows), self._stage.side, self._stage.side, 3), np.uint8)
        targets = np.empty((len(rows), self._targets.shape[2]), np.float32)
        for place, row in enumerate(rows):
            index, view = int(self._indices[row]), (self._epoch + row) % len(self._ids)
            picture = self._make.geometry(self._pictures[index], index, int(self._ids[view]))
            shown[place] = self._make.camera(picture, index, self._epoch)
            targets[place] = self._targets[row, view]
        return data.to_input(shown), targets, self._weights[rows]

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch."""
        self._epoch += 1
        random = np.random.default_rng((self._seed, len(self._stage.name), self._epoch))
        self._order = random.permutation(len(self._indices))
