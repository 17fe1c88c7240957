"""The daemon: proves the model, then runs the loop until its source ends or a signal arrives.

One thread of ours runs all of it, from capture to hand-off.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final

from edge import config as configs
from edge import lean
from edge.camera.reconnect import Change
from edge.config import Config
from edge.daemon import events, logs, models, signals
from edge.daemon.compose import Parts, compose
from edge.daemon.run import Run
from edge.daemon.systemd import Notifier
from edge.errors import IdentityError, ModelError
from edge.frames import EndOfSource, Frame
from edge.model import engine as engines
from edge.model.attempt import Attempt
from edge.model.engine import Engine
from edge.telemetry import process_age_s

log = logging.getLogger(__name__)

POLL_S: Final = 0.2
"""Longest wait for a frame, and so for a signal, the watchdog or an interval."""
FAREWELL_S: Final = 1.0
"""Longest wait for the broker to take the last messages, after a signal or a fault."""
OPTIONAL_S: Final = 3.0
"""Longest wait at the start for a camera that is not required."""
DELIVERY_S: Final = 5.0
"""The same at the end of a finite source: its last results may still be on their way."""


class Service:
    """One run of the daemon.

    load  reads the config; called again for every reload
    Raises EdgeError from ``run`` where it cannot continue.
    """

    def __init__(self, load: Callable[[], Config]) -> None:
        self._load, self._config = load, load()
        self._notifier = Notifier()

    def run(self) -> None:
        """Classify until the source ends or a signal arrives."""
        signals.remember()
        config = self._config
        logs.set_level(config.log)
        broker = configs.broker(config.mqtt)
        recovered = models.started()
        if recovered:
            config = self._load()
        try:
            engine = self._prove(config)
        except ModelError as exc:
            recovered = models.back(str(exc))
            if not recovered:
                raise
            config = self._load()
            engine = self._prove(config)
        if engine is None:
            log.info("stopped during the start", extra={"event": "stopped"})
            return
        run = Run(config, engine)
        with contextlib.ExitStack() as closing:
            parts = compose(run, broker, self._load, self._notifier, closing, recovered)
            Loop(parts, self._notifier).run()
        log.info("stopped after %d frames", run.frames_total, extra={"event": "stopped"})

    def _prove(self, config: Config) -> Engine | None:
        """Return the model, verified; None where a signal has ended that. Raises ModelError."""
        attempt = Attempt(config.model)
        if not attempt.run(signals.stopped):
            return None
        return engines.load(config.model, attempt.sha256)


class Loop:
    """Reads frames; between two of them does what is due by time."""

    def __init__(self, parts: Parts, notifier: Notifier) -> None:
        self._parts, self._notifier = parts, notifier
        self._run, self._camera, self._path = parts.run, parts.camera, parts.path
        self._beat_ns = time.monotonic_ns()
        self._connecting = False

    def run(self) -> None:
        """Run until the source ends or a signal arrives; publish `offline`."""
        farewell_s = FAREWELL_S
        try:
            if self._start() and self._frames():
                farewell_s = DELIVERY_S
        except IdentityError:
            self._parts.publisher.leave()
            raise
        except BaseException:
            self._farewell(FAREWELL_S)
            raise
        self._farewell(farewell_s)

    def _farewell(self, timeout_s: float) -> None:
        self._notifier.stopping()
        self._parts.publisher.close(self._parts.wire.availability(online=False), timeout_s)

    def _start(self) -> bool:
        """Wait for the camera and become ready; False where a signal ends that."""
        run, camera = self._run, self._camera
        required = run.config.camera.required
        until_s = time.monotonic() + (float("inf") if required else OPTIONAL_S)
        while not camera.settled and not signals.stopped() and time.monotonic() < until_s:
            self._read()
        if signals.stopped():
            return False
        if not camera.settled:
            camera.go_on_without()
            self._handle_changes()
        run.become_ready(round(process_age_s(), 3))
        self._parts.announcer.publish()
        self._notifier.ready(run.proven)
        source = camera.mode or camera.error
        text = "ready after %.2f s: %s, %s"
        log.info(text, run.start_s, run.proven, source, extra={"event": "ready"})
        self._parts.meter.begin()
        return True

    def _frames(self) -> bool:
        """Process frames; return whether the source has ended, else a signal has arrived."""
        ended = False
        try:
            while not signals.stopped():
                begin_ns = time.monotonic_ns()
                frame = self._read()
                if frame is not None:
                    self._path.process(frame, time.monotonic_ns() - begin_ns)
                self._tick()
        except EndOfSource:
            ended = True
            log.info("%s: ended", configs.without_credentials(self._run.config.camera.source))
            self._parts.publisher.settle(DELIVERY_S)
        self._parts.meter.publish()
        return ended

    def _read(self) -> Frame | None:
        try:
            return self._camera.read(POLL_S)
        finally:
            self._handle_changes()

    def _tick(self) -> None:
        """Do everything that is due by time, not by frame."""
        parts = self._parts
        if not self._connecting and (self._run.frames_total or self._camera.state != "online"):
            self._connecting = True  # not before: `online` follows `info` and `state`
            parts.publisher.connect()
        if signals.hung_up():
            parts.takeover.begin()
        for tick in parts.ticks:
            tick()
        now_ns = time.monotonic_ns()
        interval_s = self._notifier.watchdog_interval_s
        if interval_s and now_ns - self._beat_ns >= interval_s * 1e9:
            self._beat_ns = now_ns
            self._notifier.watchdog()

    def _handle_changes(self) -> None:
        while self._parts.changes:
            self._camera_changed(self._parts.changes.popleft())

    def _camera_changed(self, change: Change) -> None:
        run = self._run
        if change.news:
            type, line, evidence = events.camera(change, run.sequence)
            self._parts.events.add(type, line, **evidence)
        if change.state == "online":
            run.gap()
            lean.trim()  # of the camera before, and of the opening
        else:
            run.forget_frame()  # its pixels are the driver's
        if run.ready:
            self._parts.announcer.publish()
