"""The baseline of a model: what its pictures and scores were like, for what watches drift.

Of validation pictures, which the network was not trained with: for those its scores are too sure.
They go the daemon's way, through its preprocessing and the int8 model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edge.baseline import FEWEST
from edge.config import ModelConfig
from edge.frames import Frame
from edge.model import baselinefile
from edge.model.card import BaselineFile
from edge.model.engine import Unreadable, read_picture, start
from edge.model.survey import survey
from models.folders import Sample


def write(folder: Path, samples: Sequence[Sample]) -> BaselineFile | None:
    """Write the baseline of the model in ``folder`` beside its card; return the card's table.

    None, and no file, of fewer samples than a baseline needs.
    """
    if len(samples) < FEWEST:
        return None
    made = survey(start(ModelConfig(path=str(folder))), _frames(samples))
    return baselinefile.write(folder, made)


def _frames(samples: Iterable[Sample]) -> Iterator[Frame]:
    """Yield the pictures that can be read."""
    for sample in samples:
        try:
            yield read_picture(sample.path)
        except Unreadable:
            continue
