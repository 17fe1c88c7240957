"""The daemon: builds the parts, owns the loop, the signals and the clean end.

The composition root: only this file and the command line above it know all the parts. One
thread of ours runs all of it, from capture to hand-off.
"""

from __future__ import annotations

import logging
import platform
import secrets
import signal
import time
from dataclasses import asdict, replace
from typing import Any, Final

import msgspec

from edge import __version__, startup, wire
from edge import config as configs
from edge.camera import open_camera
from edge.config import Config
from edge.errors import CameraError
from edge.mqtt import Publisher
from edge.payloads import CameraInfo
from edge.pipeline import Pipeline
from edge.smoothing import Smoother
from edge.spool import Spool
from edge.startup import Engine
from edge.systemd import Notifier
from edge.telemetry import HealthReader, Stages, process_age_s
from edge.types import Camera, EndOfSource, Frame, Prediction

log = logging.getLogger(__name__)

POLL_S: Final = 0.2
"""Longest wait for a frame: how soon a signal, a watchdog or an interval is seen to."""
FAREWELL_S: Final = 1.0
"""Longest wait for the broker to take the last messages, after a signal or a fault."""
DELIVERY_S: Final = 5.0
"""The same at the end of a finite source: what it showed may still be on its way."""


class Service:
    """One run of the daemon. Raises EdgeError from ``run`` where it cannot go on."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stop = self._ended = False
        self._notifier = Notifier()
        self._health = HealthReader()
        self._stages = Stages()
        self._last: Prediction | None = None
        self._frames_total = 0
        self._dropped_total = 0
        self._corrupt_told = 0
        self._sequence = -1
        self._start_clocks()

    def _start_clocks(self) -> None:
        now = time.monotonic_ns()
        self._last_frame_ns = self._state_ns = self._result_ns = self._beat_ns = now
        self._telemetry_ns, self._telemetry_frames, self._started_ns = now, 0, now

    def run(self) -> None:
        """Classify until the source ends or a signal comes."""
        config = self._config
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        engine = startup.start(config.model)
        labels = engine.card.labels
        wiring = wire.Wire(config.device.id, labels, secrets.token_hex(4), time.time)
        camera = self._open_camera()
        kept = config.spool
        spool = self._spool = Spool(configs.spool_path(kept), kept.events, kept.bytes)
        try:
            publisher = Publisher(
                config.mqtt.host,
                config.mqtt.port,
                client_id=f"edge-{config.device.id}",
                will=wiring.availability(online=False),
                birth=wiring.availability(online=True),
                events=spool,
                username=config.mqtt.username,
                password=configs.password(config.mqtt),
                keepalive_s=config.mqtt.keepalive_s,
                reconnect_s=config.mqtt.reconnect_s,
            )
            try:
                self._loop(engine, camera, wiring, publisher)
            finally:
                self._notifier.stopping()
                farewell = wiring.availability(online=False)
                publisher.close(farewell, DELIVERY_S if self._ended else FAREWELL_S)
        finally:
            spool.close()
            camera.close()
        log.info("stopped after %d frames", self._frames_total)

    def _loop(
        self, engine: Engine, camera: Camera, wiring: wire.Wire, publisher: Publisher
    ) -> None:
        smoothing = msgspec.structs.asdict(self._config.smoothing)
        pipeline = Pipeline(
            engine.preprocess, engine.classifier, Smoother(engine.card.labels, **smoothing)
        )
        start_s = round(process_age_s(), 3)
        mode = replace(camera.mode, source=configs.without_credentials(camera.mode.source))
        publisher.publish(
            wiring.info(
                device=self._config.device.id,
                version=__version__,
                run=wiring.run,
                machine=f"{platform.system()} {platform.release()} {platform.machine()}",
                python=platform.python_version(),
                start_s=start_s,
                model=startup.describe(engine),
                camera=CameraInfo(**asdict(mode)),
                config=configs.redacted(self._config),
            )
        )
        facts = engine.classifier.facts
        status = f"{engine.card.name} on {facts.runtime}, {facts.delegated_share:.0%} delegated"
        log.info("ready after %.2f s: %s, %s", start_s, status, mode)
        self._notifier.ready(status)
        self._start_clocks()  # opening a camera may have taken long
        try:
            while not self._stop:
                asked_ns = time.monotonic_ns()
                frame = camera.read(POLL_S)
                if frame is not None:
                    wait_ns = time.monotonic_ns() - asked_ns
                    self._one_frame(frame, wait_ns, pipeline, wiring, publisher)
                self._tick(camera, wiring, publisher)
        except EndOfSource:
            self._ended = True
            log.info("%s: ended", camera.mode.source)
        self._telemetry(camera, wiring, publisher)

    def _one_frame(
        self,
        frame: Frame,
        wait_ns: int,
        pipeline: Pipeline,
        wiring: wire.Wire,
        publisher: Publisher,
    ) -> None:
        """Classify ``frame`` and hand over what it changes."""
        self._frames_total += 1
        self._dropped_total += max(0, frame.sequence - self._sequence - 1)
        self._sequence = frame.sequence
        prediction, change, times = pipeline.process(frame)
        begin_ns = time.monotonic_ns()
        publish = self._config.publish
        if change is not None:
            log.info("%s -> %s (%.2f)", change.before, change.after, change.score)
            publisher.publish(wiring.label_changed(change, frame.sequence))
        first_full = self._last is not None and self._last.partial and not prediction.partial
        heartbeat = begin_ns - self._state_ns >= publish.state_interval_s * 1e9
        if change is not None or self._last is None or first_full or heartbeat:
            self._state_ns = begin_ns
            publisher.publish(wiring.state(prediction))
            if self._last is None:
                publisher.connect()  # not before: `online` follows `info` and `state`
        if publish.result and begin_ns - self._result_ns >= 1e9 / publish.result_rate:
            self._result_ns = begin_ns
            publisher.publish(wiring.result(prediction, begin_ns - frame.captured_ns))
        self._last, self._last_frame_ns = prediction, time.monotonic_ns()
        handed_ns = self._last_frame_ns
        self._stages.add(wait_ns, times, handed_ns - begin_ns, handed_ns - frame.captured_ns)

    def _tick(self, camera: Camera, wiring: wire.Wire, publisher: Publisher) -> None:
        """See to everything that goes by time rather than by frame."""
        publisher.poll()
        now = time.monotonic_ns()
        silent_s = (now - self._last_frame_ns) / 1e9
        if silent_s > self._config.camera.stall_timeout_s:
            raise CameraError(
                f"no frame for {silent_s:.0f} s", where=camera.mode.source, mend="see the camera"
            )
        interval = self._notifier.watchdog_interval_s
        if interval and now - self._beat_ns >= interval * 1e9:
            self._beat_ns = now
            self._notifier.watchdog()
        if now - self._telemetry_ns >= self._config.publish.telemetry_interval_s * 1e9:
            self._telemetry(camera, wiring, publisher)

    def _telemetry(self, camera: Camera, wiring: wire.Wire, publisher: Publisher) -> None:
        """Publish how the interval went and begin the next."""
        now = time.monotonic_ns()
        interval_s = (now - self._telemetry_ns) / 1e9
        fps = (self._frames_total - self._telemetry_frames) / interval_s if interval_s else 0.0
        self._telemetry_ns, self._telemetry_frames = now, self._frames_total
        if camera.corrupt_total > self._corrupt_told:
            corrupt: dict[str, float | int | str] = {
                "corrupt_frames": camera.corrupt_total - self._corrupt_told,
                "corrupt_total": camera.corrupt_total,
            }
            self._corrupt_told = camera.corrupt_total
            log.warning("%s: %d corrupt frames so far", camera.mode.source, camera.corrupt_total)
            publisher.publish(wiring.event("frames_corrupt", evidence=corrupt))
        health, stages_ms = self._health.read(), self._stages.percentiles_ms()
        publisher.publish(
            wiring.telemetry(
                interval_s=round(interval_s, 3),
                fps=round(fps, 2),
                frames_total=self._frames_total,
                dropped_total=self._dropped_total,
                corrupt_total=camera.corrupt_total,
                stages_ms=stages_ms,
                **asdict(health),
                uptime_s=round((now - self._started_ns) / 1e9, 1),
                unsent_total=publisher.unsent_total,
                spooled=len(self._spool),
                spool_failures_total=self._spool.failures_total,
                reconnects_total=publisher.reconnects_total,
            )
        )
        label = self._last.label if self._last and self._last.label else "nothing certain"
        celsius = health.temperature_celsius
        self._notifier.status(
            f"{label} · {fps:.1f} fps"
            + (f" · p99 {stages_ms['pipeline']['p99']:.1f} ms" if stages_ms else "")
            + (f" · {celsius:.0f} °C" if celsius is not None else "")
            + f" · broker {'up' if publisher.online else 'away'}"
        )
        self._stages.clear()

    def _open_camera(self) -> Camera:
        asked = self._config.camera
        return open_camera(
            asked.source,
            shown=configs.without_credentials(asked.source),
            width=asked.width,
            height=asked.height,
            fps=asked.fps,
            fast=asked.pace == "fast",
            loop=asked.loop,
            timeout_s=asked.stall_timeout_s,
        )

    def _on_signal(self, number: int, _: Any) -> None:
        self._stop = True
