"""Applies a reload that was proven: config, model, camera and plugs change at once.

`reload` and SIGHUP begin one; the loop goes on with the old config and model until it is over, and
afterwards too if it has failed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edge.camera import spec as specs
from edge.camera.reconnect import Recovery
from edge.config import Config
from edge.contract import Request
from edge.daemon import logs
from edge.daemon.about import Announcer
from edge.daemon.commands import Answer, Pending
from edge.daemon.events import Events
from edge.daemon.reload import Reload
from edge.daemon.rooms import Rooms
from edge.daemon.run import Run, assemble
from edge.daemon.systemd import Notifier
from edge.errors import ConfigError, EdgeError
from edge.model.engine import Engine

WAITING: Final = 50
"""Requests that may wait for one reload."""


class Takeover:
    """Handles `reload` and SIGHUP."""

    def __init__(
        self,
        run: Run,
        reload: Reload,
        camera: Recovery,
        rooms: Rooms,
        announcer: Announcer,
        events: Events,
        notifier: Notifier,
    ) -> None:
        self._run, self._reload, self._camera, self._rooms = run, reload, camera, rooms
        self._announcer, self._events, self._notifier = announcer, events, notifier
        self._waiting: list[Pending] = []
        self._then: list[Callable[[str], str]] = []

    def then(self, over: Callable[[str], str]) -> None:
        """Call ``over`` once when the next reload is over, with an error or an empty text.

        It returns the error that those who wait for the reload get.
        """
        self._then.append(over)

    def handle(self, _: Request) -> Pending:
        """Begin a reload; the answer comes when it is over."""
        if len(self._waiting) >= WAITING:
            raise ConfigError(f"{WAITING} requests wait for a reload already")
        pending = Pending()
        self._waiting.append(pending)
        self.begin()
        return pending

    def begin(self) -> None:
        """Begin a reload; one that is under way is replaced."""
        self._notifier.reloading()
        self._reload.begin(self._run.config)

    def tick(self) -> None:
        """Take over a reload that is over; report it, and answer those who wait for it."""
        try:
            new = self._reload.poll()
            if new is None:
                return
            restart = self._take_over(*new)
        except EdgeError as exc:
            self._end()
            self._events.add("reload_failed", f"not reloaded: {exc}", error=str(exc))
            self._settle({}, str(exc))
        else:
            self._end()
            tables = ", ".join(restart)
            rest = f"; only a restart changes {tables}" if restart else ""
            self._events.add("reloaded", f"reloaded{rest}", needs_restart=tables)
            self._settle({"needs_restart": restart}, "")

    def _end(self) -> None:
        self._notifier.ready(self._run.proven)

    def _settle(self, answer: Answer, error: str) -> None:
        then, self._then = self._then, []
        for over in then:
            error = over(error)
        waiting, self._waiting = self._waiting, []
        for pending in waiting:
            pending.settle(answer, error)

    def _take_over(self, new: Config, engine: Engine) -> list[str]:
        """Continue with the new config and model; return the tables that only a restart changes.

        Raises EdgeError where something cannot be made of them; nothing is changed then.
        """
        run = self._run
        config, restart = self._reload.merged(run.config, new)
        pipeline, smoother = assemble(config, engine)
        prepared = self._rooms.prepare(config, engine)
        before = specs.camera_spec(run.config.camera, run.engine.preprocess)
        now = specs.camera_spec(config.camera, engine.preprocess)
        run.replace(config, engine, pipeline, smoother)
        self._rooms.take(prepared)
        logs.set_level(config.log)
        if now != before:
            self._camera.want(now.open)
            if self._camera.mode and self._camera.mode.still:
                run.forget_frame()
                self._camera.reopen()  # its frames have the size that the old model used
        self._announcer.publish()
        return restart
