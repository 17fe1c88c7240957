"""Changes settings while the daemon runs, by `set`: all of a request or none of it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from edge import config as configs
from edge.camera import spec as specs
from edge.camera.reconnect import Recovery
from edge.config import Config, persisted
from edge.contract import Request
from edge.daemon import logs
from edge.daemon.about import Announcer
from edge.daemon.commands import Answer
from edge.daemon.events import Events
from edge.daemon.rooms import Rooms
from edge.daemon.run import Run
from edge.errors import ConfigError
from edge.pipeline.smoothing import check

_NULL: Final = "unset"
"""In an event, for null: the key is left to the camera, the model's card or the defaults again."""


class Settings:
    """Handles `set`."""

    def __init__(
        self, run: Run, camera: Recovery, rooms: Rooms, announcer: Announcer, events: Events
    ) -> None:
        self._run, self._camera, self._rooms = run, camera, rooms
        self._announcer, self._events = announcer, events

    def handle(self, request: Request) -> Answer:
        """Apply a `set` request; return its tables as they are now. Raises EdgeError."""
        fields = msgspec.structs.asdict(request)
        requested = {name: fields[name] for name in ("camera", *configs.CHANGEABLE) if fields[name]}
        if not requested:
            known = ", ".join(("camera", *configs.CHANGEABLE))
            raise ConfigError("nothing to set", expected=f"one of {known}")
        _refuse(requested)
        before, tables = self._run.config, dict(requested)
        if controls := requested.get("camera"):
            merged = msgspec.to_builtins(before.camera.controls) | controls
            merged = {name: value for name, value in merged.items() if value is not None}
            tables["camera"] = {"controls": merged}
        changed = configs.change(before, tables)
        self.apply(changed)
        try:
            if fields["persist"]:
                persisted.add(tables)
        except ConfigError:
            self.apply(before)
            raise
        self._report(requested)
        now = msgspec.to_builtins(self._run.in_force)
        now["camera"] = now["camera"]["controls"]
        return {name: now[name] for name in requested}

    def apply(self, config: Config) -> None:
        """Continue with ``config``, which has the model and the camera of the one in force.

        Raises EdgeError where the camera has no such control, the window is too large or a plug
        cannot be made; nothing is changed then.
        """
        run = self._run
        check(config.smoothing.window, run.engine.card.labels)
        prepared = self._rooms.prepare(config, run.engine)
        try:
            if config.camera.controls != run.config.camera.controls:
                self._control(config)
        except BaseException:
            self._rooms.drop(prepared)
            raise
        run.configure(config)
        self._rooms.take(prepared)
        logs.set_level(config.log)
        self._announcer.publish()

    def _control(self, config: Config) -> None:
        controls = msgspec.structs.asdict(config.camera.controls)
        self._camera.control({k: value for k, value in controls.items() if value is not None})
        self._camera.want(specs.camera_spec(config.camera, self._run.engine.preprocess).open)

    def _report(self, requested: dict[str, dict[str, Any]]) -> None:
        named = {
            f"{table}.{key}": _NULL if value is None else value
            for table, keys in requested.items()
            for key, value in keys.items()
        }
        line = ", ".join(f"{key} = {value}" for key, value in named.items())
        self._events.add("changed", f"set {line}", **named)


def _refuse(requested: dict[str, dict[str, Any]]) -> None:
    """Raise ConfigError for a key that has a request of its own."""
    for table, keys in requested.items():
        for key in sorted(configs.TABLES[table].not_by_set & keys.keys()):
            raise ConfigError(
                "cannot be set", where=f"{table}.{key}", hint=f"use the request `{table}`"
            )
