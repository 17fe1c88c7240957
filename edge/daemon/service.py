"""The daemon: builds the parts, owns the loop, the signals and the clean end.

One thread of ours runs all of it, from capture to hand-off.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from typing import Final

import msgspec

from edge import config as configs
from edge.camera import spec as specs
from edge.camera.reconnect import Change, Recovery
from edge.config import Config
from edge.contract import SCHEMA, encode, homeassistant
from edge.daemon import reload, signals
from edge.daemon.assemble import parts
from edge.daemon.commands import Commands
from edge.daemon.reporter import MACHINE, Reporter
from edge.daemon.systemd import Notifier
from edge.errors import IdentityError
from edge.frames import EndOfSource
from edge.model import engine as engines
from edge.model.attempt import Attempt
from edge.model.engine import Engine
from edge.mqtt import Publisher
from edge.mqtt.spool import Spool
from edge.pipeline.pipeline import Pipeline
from edge.pipeline.smoothing import Smoother, check
from edge.telemetry import process_age_s

log = logging.getLogger(__name__)

POLL_S: Final = 0.2
"""Longest wait for a frame: how soon a signal, a watchdog or an interval is seen to."""
FAREWELL_S: Final = 1.0
"""Longest wait for the broker to take the last messages, after a signal or a fault."""
OPTIONAL_S: Final = 3.0
"""Longest wait at the start for a camera that is not required."""
DELIVERY_S: Final = 5.0
"""The same at the end of a finite source: what it showed may still be on its way."""
EXPIRE_AFTER: Final = 3
"""Intervals after which a broker may forget state and telemetry."""


class Service:
    """One run of the daemon.

    load  reads the config; called again for every reload
    Raises EdgeError from ``run`` where it cannot go on.
    """

    def __init__(self, load: Callable[[], Config]) -> None:
        self._config, self._reload, self._ended = load(), reload.Reload(load), False
        self._notifier = Notifier()
        self._beat_ns, self._assembled = time.monotonic_ns(), False

    def run(self) -> None:
        """Classify until the source ends or a signal comes."""
        signals.remember()
        config = self._config
        logging.getLogger().setLevel(config.log.level.upper())
        broker = configs.broker(config.mqtt)
        attempt = Attempt(config.model)
        if not attempt.run(signals.stopped):
            log.info("stopped during the start", extra={"event": "stopped"})
            return
        self._engine = engines.load(config.model, attempt.sha256)
        base = f"{config.mqtt.base_topic}/{config.device.id}"
        run = secrets.token_hex(4)
        self._wiring = wiring = encode.Wire(base, self._engine.card.labels, run, time.time)
        self._expire()
        kept = config.spool
        spool = Spool(configs.spool_path(kept), kept.events, kept.bytes)
        policy = specs.policy(config.camera)
        self._wanted = specs.camera_spec(config.camera, self._engine.preprocess)
        self._camera = camera = Recovery(self._wanted.open, policy, self._camera_changed)
        try:
            self._publisher = publisher = Publisher(
                broker,
                client_id=f"edge-{config.device.id}-{run}",
                will=wiring.availability(online=False),
                birth=wiring.availability(online=True),
                events=spool,
                topics=(
                    *(f"{base}/request/+", f"{base}/claim", f"{base}/availability"),
                    homeassistant.status_topic(config.homeassistant.prefix),
                ),
                claim=lambda: wiring.claim(MACHINE, publisher.settled),
                user=("schema", str(SCHEMA)),
            )
            self._reporter = Reporter(config, wiring, publisher, spool, self._notifier, camera)
            self._control = Commands(
                *(self._reporter, publisher, wiring),
                *(self._apply, self._begin_reload, self._finish_reload),
            )
            try:
                self._loop(camera)
            except IdentityError:
                publisher.leave()
                raise
            except BaseException:
                self._farewell()
                raise
            self._farewell()
        finally:
            self._reload.close()
            spool.close()
            camera.close()
        frames = self._reporter.frames_total
        log.info("stopped after %d frames", frames, extra={"event": "stopped"})

    def _farewell(self) -> None:
        self._notifier.stopping()
        offline = self._wiring.availability(online=False)
        self._publisher.close(offline, DELIVERY_S if self._ended else FAREWELL_S)

    def _loop(self, camera: Recovery) -> None:
        reporter, control = self._reporter, self._control
        if not self._await_camera(camera):
            return
        self._start_s = round(process_age_s(), 3)
        self._assemble(*parts(self._engine, self._config.smoothing))
        self._notifier.ready(self._proven())
        seen = camera.mode or camera.error
        text = "ready after %.2f s: %s, %s"
        log.info(text, self._start_s, self._proven(), seen, extra={"event": "ready"})
        reporter.begin()
        try:
            while not signals.stopped():
                asked_ns = time.monotonic_ns()
                frame = camera.read(POLL_S)
                if frame is not None:
                    wait_ns = time.monotonic_ns() - asked_ns
                    reporter.seen(frame)
                    if not reporter.paused:
                        prediction, change, times = self._pipeline.process(frame)
                        reporter.classified(frame, prediction, change, times, wait_ns)
                    control.frame = frame
                self._tick()
        except EndOfSource:
            self._ended = True
            log.info("%s: ended", configs.without_credentials(self._config.camera.source))
            self._publisher.settle(DELIVERY_S)
        reporter.telemetry()

    def _proven(self) -> str:
        name, facts = self._engine.card.name, self._engine.classifier.facts
        return f"{name} on {facts.runtime}, {facts.delegated_share:.0%} delegated"

    def _await_camera(self, camera: Recovery) -> bool:
        """Wait for the first try to open the camera; False where a signal ends that."""
        required = self._config.camera.required
        until_s = time.monotonic() + (float("inf") if required else OPTIONAL_S)
        while not camera.settled and not signals.stopped() and time.monotonic() < until_s:
            camera.read(POLL_S)
        if not camera.settled and not signals.stopped():
            camera.go_on_without()
        return not signals.stopped()

    def _tick(self) -> None:
        """See to everything that goes by time rather than by frame."""
        self._publisher.poll()
        self._control.tick()
        if signals.hung_up():
            self._control.reload()
        now = time.monotonic_ns()
        interval = self._notifier.watchdog_interval_s
        if interval and now - self._beat_ns >= interval * 1e9:
            self._beat_ns = now
            self._notifier.watchdog()
        if self._reporter.due():
            self._reporter.telemetry()

    def _camera_changed(self, change: Change) -> None:
        self._reporter.camera_changed(change)
        if change.state != "online":
            self._control.frame = None  # its pixels are the driver's
        elif self._reporter.frames_total:
            self._smoother.refill()
        if self._assembled:
            self._describe()

    def _assemble(self, pipeline: Pipeline, smoother: Smoother) -> None:
        """Classify by these from now on, and say what this device is."""
        self._wiring.labels = self._engine.card.labels
        self._pipeline, self._smoother = pipeline, smoother
        self._assembled = True
        self._describe()

    def _describe(self) -> None:
        self._expire()
        self._reporter.describe(engines.describe(self._engine), self._start_s)

    def _expire(self) -> None:
        publish = self._config.publish
        for topic, interval_s in (
            ("state", publish.state_interval_s),
            ("telemetry", publish.telemetry_interval_s),
            ("result", 0.0),
        ):
            self._wiring.expires[topic] = max(30, round(EXPIRE_AFTER * interval_s))

    def _apply(self, config: Config) -> None:
        """Go on with other settings of camera controls, smoothing, publishing and log.

        Raises EdgeError where the camera has no such control, or the window is too large; nothing
        is changed then.
        """
        check(config.smoothing.window, self._engine.card.labels)
        if config.camera.controls != self._config.camera.controls:
            told = msgspec.structs.asdict(config.camera.controls)
            self._camera.control({name: to for name, to in told.items() if to is not None})
            self._wanted = specs.camera_spec(config.camera, self._engine.preprocess)
            self._camera.want(self._wanted.open)
        self._config = self._reporter.config = config
        self._smoother.configure(**msgspec.structs.asdict(config.smoothing))
        logging.getLogger().setLevel(config.log.level.upper())
        self._describe()

    def _begin_reload(self) -> None:
        self._notifier.reloading()
        self._reload.begin(self._config)

    def _finish_reload(self) -> list[str] | None:
        """Go on with the new config and model once they are proven; until then with the old ones.

        Return the tables that only a restart can change, and that have changed; None while there
        is nothing new. Raises EdgeError where the old ones go on.
        """
        restart: list[str] | None = []
        try:
            new = self._reload.poll()
            restart = None if new is None else self._take_over(*new)
            return restart
        finally:
            if restart is not None:
                self._notifier.ready(self._proven())

    def _take_over(self, new: Config, engine: Engine) -> list[str]:
        merged, restart = self._reload.merged(self._config, new)
        assembled = parts(engine, merged.smoothing)
        before, self._engine = self._engine, engine
        self._config = self._reporter.config = merged
        logging.getLogger().setLevel(merged.log.level.upper())
        if engine.card.labels != before.card.labels:
            self._reporter.last = None
        wanted, mode = specs.camera_spec(merged.camera, engine.preprocess), self._camera.mode
        if wanted != self._wanted:
            self._wanted = wanted
            self._camera.want(wanted.open)
            if mode and mode.still:
                self._camera.reopen()  # its frames are of the size that was of use
        self._assemble(*assembled)
        return restart
