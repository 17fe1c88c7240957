"""Puts a proven model and its window together."""

from __future__ import annotations

import msgspec

from edge.config import SmoothingConfig
from edge.errors import ConfigError, boundary
from edge.model.engine import Engine
from edge.pipeline.pipeline import Pipeline
from edge.pipeline.smoothing import Smoother


def parts(engine: Engine, smoothing: SmoothingConfig) -> tuple[Pipeline, Smoother]:
    """Return the engine in a pipeline of its own, and its window. Raises ConfigError."""
    with boundary(ConfigError, "cannot be used", "[smoothing]"):
        smoother = Smoother(engine.card.labels, **msgspec.structs.asdict(smoothing))
        return Pipeline(engine.preprocess, engine.classifier, smoother), smoother
