"""Shadows by request: start, stop, report.

Rule 1: a shadow is started only by the name of an installed model: no request names a file.
Rule 2: what a request has started or stopped comes before the config, also at a reload, until its
        time is over or it is promoted; a restart forgets it. A candidate that ends the daemon does
        not do so twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

import msgspec

from edge.config import Config
from edge.contract import Shadow
from edge.daemon.commands import Answer
from edge.daemon.run import Run
from edge.daemon.settings import Settings
from edge.daemon.shadowing import Shadowing, is_at_work
from edge.errors import EdgeError, ModelError
from edge.frames import Seconds
from edge.model import installed

log = logging.getLogger(__name__)

PAIRS: Final = 100
"""Pairs of labels in a report, the most frequent ones."""


class Shadows:
    """Handles `shadow`."""

    def __init__(
        self,
        run: Run,
        settings: Settings,
        shadowing: Shadowing,
        clock: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        self._run, self._settings, self._shadowing = run, settings, shadowing
        self._clock = clock
        self._requested: str | None = None  # empty: stopped; None: the config decides
        self._until_s = float("inf")
        self._configured = run.config.shadow.model

    def handle(self, request: Shadow) -> Answer:
        """Start, stop or report. Raises EdgeError."""
        if request.action == "start":
            return self._start(request.name, request.seconds)
        if request.action == "stop":
            self._use("", "by request")
            self._requested, self._until_s = "", float("inf")
        shadow = self._shadowing.now
        figures = msgspec.to_builtins(shadow.report(PAIRS)) if shadow else {"state": "off"}
        return dict(figures)

    def over(self, load: Callable[[], Config]) -> Callable[[], Config]:
        """Return what loads the config with what was requested over it."""

        def loaded() -> Config:
            config = load()
            self._configured = config.shadow.model
            return config if self._requested is None else _with(config, self._requested)

        return loaded

    def tick(self) -> None:
        """End what was requested, once its time is over or it has become the model at work."""
        if self._requested is None:
            return
        shadow = self._shadowing.now
        if self._requested and shadow is not None and shadow.state == "at_work":
            self._forget("")
        elif self._clock() >= self._until_s:
            self._forget("its time is over")

    def _start(self, name: str, seconds: Seconds | None) -> Answer:
        folder = installed.folder(name)
        if folder is None:
            raise installed.unknown(name, "shadow")
        if is_at_work(folder.name, self._run.engine):
            raise ModelError("is the model at work", where=folder.name, hint="name another")
        if self._shadowing.now is not None and self._shadowing.now.state == "failed":
            self._use("", "by request")  # so that it is tried again
        self._use(folder.name, "by request")  # gate@2 for gate, as with `model`
        self._requested = folder.name
        self._until_s = self._clock() + seconds if seconds else float("inf")
        return {"model": folder.name, "seconds": seconds}

    def _forget(self, why: str) -> None:
        self._requested, self._until_s = None, float("inf")
        try:
            self._use(self._configured, why)
        except EdgeError as exc:
            log.error("the shadow stays: %s", exc)

    def _use(self, model: str, why: str) -> None:
        self._shadowing.reason = why
        try:
            self._settings.apply(_with(self._run.config, model))
        finally:
            self._shadowing.reason = ""


def _with(config: Config, model: str) -> Config:
    shadow = msgspec.structs.replace(config.shadow, model=model)
    return msgspec.structs.replace(config, shadow=shadow)
