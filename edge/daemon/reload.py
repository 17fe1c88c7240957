"""A reload in steps: config and model are read, the model is proven, and the loop never waits.

Rule 1: whatever is wrong with the new config or model is an EdgeError from ``poll``.
Rule 2: one reload at a time. A new one replaces it, and continues its work where the model is the
        same: however many are requested, one is completed.

Runs on the loop's thread. [1] A model is hashed (see attempt), and loaded once it has passed its
trial, on a thread of its own: either may take as long as several frames, or longer than the
watchdog allows. That thread is given the table [model] and a checksum, which do not change, and
returns an engine of its own; the loop takes it with ``result`` once the thread is done. A second
model is hashed and tried there, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from edge import config as configs
from edge.background import Call
from edge.config import RELOADABLE, Config, ModelConfig
from edge.errors import ConfigError, EdgeError, ModelError, boundary
from edge.model import engine as engines
from edge.model.attempt import Attempt
from edge.model.engine import Engine


@dataclass(frozen=True, slots=True)
class _Underway:
    config: Config
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class _Loading:
    """A model that is loaded, the config's table for it, and what it has proven."""

    model: ModelConfig
    proof: str
    call: Call[Engine]  # [1]


class Reload:
    """The reloads of one run.

    load  reads the config; raises ConfigError
    """

    def __init__(self, load: Callable[[], Config]) -> None:
        self._load = load
        self._in_force = Config()
        self._underway: _Underway | None = None
        self._loading: _Loading | None = None
        self._error: EdgeError | None = None

    def begin(self, in_force: Config) -> None:
        """Read the config, and begin to prove the model.

        in_force  what requests change in it from now on is kept
        """
        self._in_force = in_force
        before, self._underway, self._error = self._underway, None, None
        try:
            with boundary(ConfigError, "the config cannot be used", "reload"):
                config = self._load()
            attempt = Attempt(config.model, before.attempt if before else None)
        except EdgeError as exc:
            self._error, self._loading = exc, None
        else:
            self._underway = _Underway(config, attempt)
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
        if now is None:
            return None
        try:
            with boundary(ModelError, "the model cannot be used", "reload"):
                engine = self._engine(now)
        except EdgeError:
            now.attempt.close()
            self._underway = self._loading = None
            raise
        if engine is None:
            return None
        self._underway = self._loading = None
        return now.config, engine

    def _engine(self, now: _Underway) -> Engine | None:
        """Take the next step, if it is possible; return the engine once it is loaded."""
        if not now.attempt.wait(0.0):
            return None
        model, proof = now.config.model, now.attempt.proof
        before = self._loading
        if before is None or before.proof != proof or _second(before.model) != _second(model):
            now.attempt.check()
            sha256 = now.attempt.sha256
            call = Call(lambda: engines.load(model, sha256), name="model")
            self._loading = before = _Loading(model, proof, call)
        return before.call.result() if before.call.wait(0.0) else None

    def merged(self, now: Config, new: Config) -> tuple[Config, list[str]]:
        """Return the config after a reload, and the tables that only a restart would change.

        now  in force so far; what requests have changed in it meanwhile is newer than ``new``
        """
        tables = {name: getattr(new, name) for name in RELOADABLE}
        for name in configs.CHANGEABLE:
            if getattr(now, name) != getattr(self._in_force, name):
                tables[name] = getattr(now, name)
        prefix = now.homeassistant.prefix  # its status topic is subscribed to
        tables["homeassistant"] = msgspec.structs.replace(new.homeassistant, prefix=prefix)
        result = msgspec.structs.replace(now, **tables)
        left = set(Config.__struct_fields__) - set(configs.CHANGEABLE)
        return result, [
            name
            for name in Config.__struct_fields__
            if name in left and getattr(new, name) != getattr(result, name)
        ]

    def close(self) -> None:
        """Stop what is under way."""
        if self._underway is not None:
            self._underway.attempt.close()


def _second(model: ModelConfig) -> tuple[str, float]:
    return model.second, model.second_below
