"""A candidate model: tried and loaded beside the loop, with a pipeline of its own.

[1] A candidate that has passed its trial is loaded on a thread of its own, which gets what does not
    change; the loop, which calls ``poll`` between two frames, takes it once that thread is done. A
    flag says that nobody will.
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
    """The candidate of [shadow] on its way; begins with a ``poll``.

    before  another one, closed by then: what it has left behind on a thread is over first. However
            many are requested, one is read or loaded
    """

    def __init__(self, config: Config, before: Loading | None = None) -> None:
        self._before: Loading | None = before
        if before is not None and before._attempt is None:
            self._before = before._before  # which has never begun
        self._closed = False
        table = config.shadow
        model = msgspec.structs.replace(config.model.alone(table.model), threads=table.threads)
        self._config = msgspec.structs.replace(config, model=model)
        self._attempt: Attempt | None = None
        self._call: Call[Loaded | None] | None = None

    def poll(self) -> Loaded | None:
        """Take the next step; return the candidate, None before. Raises EdgeError."""
        with boundary(ModelError, "the model cannot be used", self._config.model.path):
            if self._call is None:
                if self._attempt is None:
                    if self._before is not None and self._before._runs():
                        return None
                    self._before = None
                    self._attempt = Attempt(self._config.model)
                if not self._attempt.wait(0.0):
                    return None
                self._attempt.check()
                self._call = Call(self._load, name="model")  # [1]
            if not self._call.wait(0.0):
                return None
            loaded, self._call = self._call.result(), None
            return loaded

    def close(self) -> None:
        """End a trial that runs; what is being loaded is left behind, and dropped."""
        self._closed = True  # [1]
        if self._attempt is not None:
            self._attempt.close()
        if self._call is not None and self._call.wait(0.0):
            self._call = None

    def _load(self) -> Loaded | None:
        """[1] Return the candidate; None where nobody wants it any more."""
        sha256 = self._attempt.sha256 if self._attempt else ""
        loaded = _load(self._config, sha256)
        return None if self._closed else loaded

    def _runs(self) -> bool:
        """Return whether a thread of it runs."""
        attempt, call = self._attempt, self._call
        return bool(attempt and attempt.hashing) or bool(call and not call.wait(0.0))


def _load(config: Config, sha256: str) -> Loaded:
    """Return the candidate, warm. Raises EdgeError."""
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
