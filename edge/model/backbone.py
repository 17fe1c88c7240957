"""A backbone: a model that gives features, not scores; what a head is taught on.

    backbone = start(ModelConfig(path="features"))
    backbone.features(frame)  # (F,) float32

Found, tried, loaded and attested as a classifier is, by the same preprocessing and runtime: the
features are those that a daemon with a head on this backbone computes. Runs on the caller's thread.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.config import ModelConfig
from edge.errors import ModelError
from edge.frames import Frame
from edge.model.attempt import Attempt
from edge.model.engine import Engine, prepare


@dataclass(frozen=True, slots=True)
class Backbone:
    """A model that has proven itself, ready for frames.

    engine  its card, preprocessing and network; ``classify`` writes features
    """

    engine: Engine

    @property
    def size(self) -> int:
        """F, how many features a picture has."""
        return self.engine.classifier.values_total

    def features(self, frame: Frame) -> NDArray[np.float32]:
        """Return the features of one frame, (F,) float32, the caller's own.

        Raises ModelError where they are not finite.
        """
        out = np.empty(self.size, np.float32)
        if not self.engine.classify(frame, out):
            reason = self.engine.classifier.fault()
            raise ModelError("no features for a picture", where=str(self.engine.path), got=reason)
        return out


def start(config: ModelConfig) -> Backbone:
    """Return the backbone that ``config`` describes, verified and warm. Raises ModelError.

    Waits for the trial of a model that has not proven itself.
    """
    attempt = Attempt(config, gives="features")
    attempt.run()
    return Backbone(prepare(config, attempt.sha256, "features"))
