"""A reload in steps: config and model are read, the model is proven, the loop goes on meanwhile.

Rule 1: whatever is wrong with the new config or model is an EdgeError from ``poll``.
Rule 2: one reload at a time. One that is asked for meanwhile takes its place, and goes on with its
        work where the model is the same: however many are asked for, one comes to its end.

Composes config and startup. Runs on the loop's thread; a model that has passed its trial is loaded
on a thread of its own [1], for that may take as long as several frames, or the watchdog's patience.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from edge import config as configs
from edge.background import Call
from edge.config import Config
from edge.errors import ConfigError, EdgeError, ModelError, boundary
from edge.model import engine as engines
from edge.model.attempt import Attempt
from edge.model.engine import Engine

RELOADABLE: Final = (*configs.CHANGEABLE, "model", "snapshot", "homeassistant")
"""Tables that a reload can change."""


@dataclass(slots=True)
class _Underway:
    config: Config
    attempt: Attempt
    loading: Call[Engine] | None  # [1]


class Reload:
    """The reloads of one run.

    load  reads the config; raises ConfigError
    """

    def __init__(self, load: Callable[[], Config]) -> None:
        self._load = load
        self._underway: _Underway | None = None
        self._error: EdgeError | None = None

    def begin(self, in_force: Config) -> None:
        """Read the config, and begin to prove the model.

        in_force  what is changed from now on, by requests, is kept
        """
        self._in_force = in_force
        before, self._underway, self._error = self._underway, None, None
        try:
            with boundary(ConfigError, "the config cannot be used", "reload"):
                config = self._load()
            attempt = Attempt(config.model, before.attempt if before else None)
        except EdgeError as exc:
            self._error = exc
        else:
            same = before is not None and before.attempt.proof == attempt.proof
            self._underway = _Underway(config, attempt, before.loading if before and same else None)
        if before is not None:
            before.attempt.close()

    def poll(self) -> tuple[Config, Engine] | None:
        """Return the new config with its engine, once; None while there is none.

        Raises EdgeError, once, where either is refused.
        """
        error, self._error = self._error, None
        if error is not None:
            raise error
        now = self._underway
        if now is None or not now.attempt.wait(0.0):
            return None
        try:
            with boundary(ModelError, "the model cannot be used", "reload"):
                if now.loading is None:
                    now.attempt.check()
                    model, sha256 = now.config.model, now.attempt.sha256
                    now.loading = Call(lambda: engines.load(model, sha256), name="model")
                if not now.loading.wait(0.0):
                    return None
                engine = now.loading.result()
        except EdgeError:
            self._underway = None
            raise
        self._underway = None
        return now.config, engine

    def merged(self, now: Config, new: Config) -> tuple[Config, list[str]]:
        """Return what is in force after a reload, and the tables that only a restart would change.

        now  in force until then; what requests have changed in it meanwhile is newer than ``new``
        """
        tables = {name: getattr(new, name) for name in RELOADABLE}
        for name in configs.CHANGEABLE:
            if getattr(now, name) != getattr(self._in_force, name):
                tables[name] = getattr(now, name)
        prefix = now.homeassistant.prefix  # whose status is subscribed to
        tables["homeassistant"] = msgspec.structs.replace(new.homeassistant, prefix=prefix)
        result = msgspec.structs.replace(now, **tables)
        left = set(Config.__struct_fields__) - set(configs.CHANGEABLE)
        return result, [
            name
            for name in Config.__struct_fields__
            if name in left and getattr(new, name) != getattr(result, name)
        ]

    def close(self) -> None:
        """Give up what is under way."""
        if self._underway is not None:
            self._underway.attempt.close()
