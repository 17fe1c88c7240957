"""What is done about requests, and about another daemon of the same name.

Composes the inbox with the reporter and the publisher. What a request changes is done between
two frames, on the loop's thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from edge import __version__
from edge import config as configs
from edge.config import Config, persisted
from edge.contract import EventType, Pause, Request, Set, Snapshot, homeassistant
from edge.contract.encode import OFFLINE, Wire
from edge.daemon import inbox
from edge.daemon.inbox import Asked
from edge.daemon.reporter import MACHINE, Reporter
from edge.errors import ConfigError, EdgeError, IdentityError
from edge.frames import Frame
from edge.messages import Incoming
from edge.mqtt import Publisher

log = logging.getLogger(__name__)
A_TICK: Final = 50
"""Messages handled between two frames."""
TICK_S: Final = 0.02
"""Longest time spent on them, where the last of them takes no longer."""
ANSWER_S: Final = 1.0
"""Shortest time between two answers to a stale "offline"."""
ANNOUNCE_S: Final = 5.0
"""Shortest time between two announcements to Home Assistant."""
LOG_S: Final = 3600.0
"""Shortest time between two log lines about the same."""


class Commands:
    """Answers requests.

    apply     called with a config that is to be in force
    reload    begins to read config and model again
    reloaded  returns the tables that only a restart can change, once a reload is over; None before.
              Raises EdgeError where the old config and model go on
    """

    def __init__(
        self,
        reporter: Reporter,
        publisher: Publisher,
        wiring: Wire,
        apply: Callable[[Config], None],
        reload: Callable[[], None],
        reloaded: Callable[[], list[str] | None],
    ) -> None:
        self._reporter, self._publisher, self._wiring = reporter, publisher, wiring
        self._apply, self.reload, self._reloaded = apply, reload, reloaded
        self._inbox = inbox.Inbox()
        self._resume_at_s = float("inf")
        self._status_topic = homeassistant.status_topic(reporter.config.homeassistant.prefix)
        self._rivals: set[str] = set()
        self._waiting: list[Asked] = []  # for the reload that is under way
        self._claims = inbox.Rate(inbox.RATE)
        self._stale = inbox.Repeated(ANSWER_S)
        self._status = inbox.Repeated(ANNOUNCE_S)
        self._logged_s, self._stale_total = -LOG_S, 0
        self.frame: Frame | None = None
        """The newest frame, valid until the camera is read again."""

    def tick(self) -> None:
        """See to what has come, and to what is due. Raises IdentityError."""
        now = time.monotonic()
        if now >= self._resume_at_s:
            self._pause(False)
        for _ in range(A_TICK):
            incoming = self._publisher.incoming.take()
            if incoming is None:
                break
            self._handle(incoming)
            if time.monotonic() - now > TICK_S:
                break
        now = time.monotonic()
        if self._stale.due(now):
            self._reassert(now)
        if self._status.due(now):
            self._reporter.announce()
        self._see_to_reload()

    def _handle(self, incoming: Incoming) -> None:
        topic = incoming.topic
        if topic == f"{self._wiring.base}/claim":
            self._rival(incoming)
        elif topic == f"{self._wiring.base}/availability":
            if incoming.payload == OFFLINE and not incoming.retained:
                self._stale.again()
        elif topic == self._status_topic:
            if incoming.payload == b"online":
                self._status.again()
        else:
            self._request(incoming)

    def _see_to_reload(self) -> None:
        """Report a reload that is over, and answer those who asked for it."""
        answer: dict[str, Any] = {}
        error = ""
        try:
            restart = self._reloaded()
            if restart is None:
                return
        except EdgeError as exc:
            error = str(exc)
            self._reporter.event("reload_failed", f"not reloaded: {exc}", error=error)
        else:
            tables = ", ".join(restart)
            left = f"; only a restart changes {tables}" if restart else ""
            self._reporter.event("reloaded", f"reloaded{left}", needs_restart=tables)
            answer = {"needs_restart": restart}
        waiting, self._waiting = self._waiting, []
        for asked in waiting:
            self._answer(asked, answer, error)

    def _request(self, incoming: Incoming) -> None:
        asked = self._inbox.read(incoming, time.monotonic())
        self._reporter.requests_total = self._inbox.total
        if asked is None:
            return
        if asked.answered is not None:
            self._publisher.answer(asked.answered)
            return
        data, error = {}, asked.error
        if asked.body is not None and asked.command == "reload":
            if len(self._waiting) < A_TICK:
                self._waiting.append(asked)
                self.reload()
                return
            error = f"{A_TICK} requests wait for a reload already"
        elif asked.body is not None:
            try:
                data = self._do(asked.command, asked.body)
            except EdgeError as exc:
                error = str(exc)
        self._answer(asked, data, error)

    def _answer(self, asked: Asked, data: dict[str, Any], error: str) -> None:
        answer = self._wiring.response(
            asked.command,
            asked.transaction,
            data=data,
            error=error,
            answer_to=asked.incoming.answer_to,
            correlation=asked.incoming.correlation,
        )
        self._inbox.answered(asked, answer)
        self._publisher.answer(answer)

    def _do(self, command: str, body: Request) -> dict[str, Any]:
        match body:
            case Pause():
                self._pause(body.paused)
                if body.paused and body.seconds:
                    self._resume_at_s = time.monotonic() + body.seconds
                return {"paused": body.paused, "seconds": body.seconds}
            case Snapshot():
                return self._snapshot(body.caption)
            case Set():
                return self._set(body)
        match command:
            case "ping":
                uptime_s = self._reporter.uptime_s
                return {"run": self._wiring.run, "version": __version__, "uptime_s": uptime_s}
            case "stats":
                return self._reporter.figures()
            case "resume":
                self._pause(False)
        return {}

    def _pause(self, paused: bool) -> None:
        self._resume_at_s = float("inf")
        if paused == self._reporter.paused:
            return
        self._reporter.paused = paused
        what: EventType = "paused" if paused else "resumed"
        self._reporter.event(what, what)
        self._reporter.state()

    def _snapshot(self, caption: bool | None) -> dict[str, Any]:
        if not self._reporter.config.snapshot.enabled:
            raise ConfigError("snapshots are off", hint="set snapshot.enabled in the config")
        if self.frame is None:
            raise ConfigError("there is no frame now", got=f"camera {self._reporter.camera.state}")
        size = self._reporter.snapshot(self.frame, caption)
        if size is None:
            raise ConfigError("cannot be made so small", expected="a larger snapshot.max_bytes")
        return {"bytes": size}

    def _set(self, body: Set) -> dict[str, Any]:
        asked = {"camera": body.camera}
        asked |= {name: getattr(body, name) for name in configs.CHANGEABLE}
        asked = {name: keys for name, keys in asked.items() if keys}
        if not asked:
            known = ", ".join(("camera", *configs.CHANGEABLE))
            raise ConfigError("nothing to set", expected=f"one of {known}")
        before, tables = self._reporter.config, dict(asked)
        if body.camera:
            old = msgspec.to_builtins(before.camera.controls)
            controls = {k: v for k, v in (old | body.camera).items() if v is not None}
            tables["camera"] = {"controls": controls}
        changed = configs.change(before, tables)
        self._apply(changed)
        try:
            if body.persist:
                persisted.add(tables)
        except ConfigError:
            self._apply(before)
            raise
        named = {f"{t}.{key}": value for t, keys in asked.items() for key, value in keys.items()}
        line = ", ".join(f"{key} = {value}" for key, value in named.items())
        self._reporter.event("changed", f"set {line}", **named)
        now = msgspec.to_builtins(changed)
        now["camera"] = now["camera"]["controls"]
        return {name: now[name] for name in asked}

    def _reassert(self, now: float) -> None:
        """After a power cut the broker finds the old connection dead when the new one is there."""
        self._stale_total += 1
        if now - self._logged_s >= LOG_S:
            self._logged_s = now
            text = "received a stale 'offline'; republishing 'online' (%d so far)"
            log.info(text, self._stale_total)
        self._publisher.reassert()

    def _rival(self, incoming: Incoming) -> None:
        """Another daemon may have this device's name."""
        if not self._claims.may(time.monotonic()):
            return
        other = inbox.claim(incoming)
        mine, settled = self._wiring.run, self._publisher.settled
        if other is None or other.run == mine:
            return
        if inbox.yields(mine, settled, other):
            raise IdentityError(
                "another daemon has this device id",
                where=f"device.id {self._reporter.config.device.id}",
                got=f"run {other.run} on {other.machine}",
                hint="give each device an id of its own",
            )
        if not other.settled:
            self._publisher.answer(self._wiring.claim(MACHINE, settled))
        elif other.run not in self._rivals and len(self._rivals) < A_TICK:
            self._rivals.add(other.run)
            line = f"another daemon has this device id: run {other.run} on {other.machine}"
            self._reporter.event("duplicate_id", line, run=other.run, machine=other.machine)
