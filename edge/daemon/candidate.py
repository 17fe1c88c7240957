"""A candidate model: tried and loaded beside the loop, with a pipeline of its own.

[1] A candidate that has passed its trial is loaded on a thread of its own, which gets frozen
    records; the loop, which calls ``poll`` between two frames, takes it once that thread is done.
"""

from __future__ import annotations

import msgspec

from edge.background import Call
from edge.config import Config, SmoothingConfig
from edge.daemon.run import assemble
from edge.errors import ModelError, boundary
from edge.model import engine as engines
from edge.model.attempt import Attempt
from edge.observers.shadow_parts import Loaded
from edge.pipeline.smoothing import check
from edge.telemetry import HealthReader


class Loading:
    """The candidate of [shadow] on its way; begins with the first ``poll``."""

    def __init__(self, config: Config) -> None:
        table = config.shadow
        model = msgspec.structs.replace(config.model, path=table.model, threads=table.threads)
        self._config = msgspec.structs.replace(config, model=model)
        self._attempt: Attempt | None = None
        self._call: Call[Loaded] | None = None

    def poll(self) -> Loaded | None:
        """Take the next step; return the candidate, None before. Raises EdgeError."""
        with boundary(ModelError, "the model cannot be used", self._config.model.path):
            if self._call is None:
                if self._attempt is None:
                    self._attempt = Attempt(self._config.model)
                if not self._attempt.wait(0.0):
                    return None
                self._attempt.check()
                config, sha256 = self._config, self._attempt.sha256
                self._call = Call(lambda: _load(config, sha256), name="model")  # [1]
            return self._call.result() if self._call.wait(0.0) else None

    def close(self) -> None:
        """End a trial that runs; what is being loaded is left behind."""
        if self._attempt is not None:
            self._attempt.close()


def _load(config: Config, sha256: str) -> Loaded:
    """[1] Return the candidate, warm. Raises EdgeError."""
    before_bytes = HealthReader().read().rss_bytes or 0
    engine = engines.load(config.model, sha256)
    grown_bytes = (HealthReader().read().rss_bytes or 0) - before_bytes
    memory_bytes = max(grown_bytes, engine.path.stat().st_size)  # free memory may be used again
    pipeline, smoother = assemble(config, engine)
    labels = engine.card.labels

    def configure(smoothing: SmoothingConfig) -> None:
        check(smoothing.window, labels)
        smoother.configure(smoothing)

    name = f"{engine.card.name} {engine.card.version}".strip()
    return Loaded(name, labels, pipeline, configure, memory_bytes)
