"""What is told, and when: to the broker, to systemd and to the log.

Composes wire, publisher, spool and telemetry for the loop; knows no camera and no model.
"""

from __future__ import annotations

import contextlib
import platform
import time
from dataclasses import asdict
from typing import Any, Final

from edge import __version__
from edge import config as configs
from edge.camera.reconnect import Change, Recovery
from edge.config import Config
from edge.contract import CameraInfo, EventType, ModelInfo, homeassistant
from edge.contract.encode import Wire
from edge.daemon import eventlog, statusline
from edge.daemon.systemd import Notifier
from edge.errors import CameraError
from edge.frames import CameraMode, Frame, FrameTimes, InvalidScores, LabelChange, Prediction
from edge.mqtt import Publisher
from edge.mqtt.spool import Spool
from edge.pipeline import jpeg as snapshots
from edge.telemetry import HealthReader, Stages

MACHINE: Final = f"{platform.system()} {platform.release()} {platform.machine()}"
AGAIN_NS: Final = 3600 * 10**9
"""Invalid scores are reported once, and again only after so long without any."""


class Reporter:
    """Tells what one run of the daemon sees.

    config  the one in force; whoever changes it calls ``describe`` then
    paused  whether frames are passed over
    """

    def __init__(
        self,
        config: Config,
        wiring: Wire,
        publisher: Publisher,
        spool: Spool,
        notifier: Notifier,
        camera: Recovery,
    ) -> None:
        self.config, self.paused = config, False
        self.last: Prediction | None = None
        self.frames_total = 0
        self.requests_total = 0
        self.invalid_scores_total = 0
        self._invalid_ns, self._scores = -AGAIN_NS, True
        self._wiring, self._publisher, self._spool = wiring, publisher, spool
        self._notifier, self.camera = notifier, camera
        self._health = HealthReader()
        self._stages = Stages()
        self._dropped_total = 0
        self._corrupt_told = 0
        self._sequence = -1
        self._connecting = False
        self.begin()

    def begin(self) -> None:
        """Start the clocks; opening a camera may have taken long."""
        now = time.monotonic_ns()
        self._state_ns = self._result_ns = self._telemetry_ns = self._started_ns = now
        self._telemetry_frames = self.frames_total

    @property
    def uptime_s(self) -> float:
        """Seconds since READY."""
        return round((time.monotonic_ns() - self._started_ns) / 1e9, 1)

    def describe(self, model: ModelInfo, start_s: float) -> None:
        """Publish what this device is, and announce it to Home Assistant."""
        asked, camera = self.config.camera, self.camera
        nothing = CameraMode("", asked.source, asked.width, asked.height, asked.fps, "")
        mode = asdict(camera.mode or nothing)
        mode["source"] = configs.without_credentials(mode["source"])
        error = str(camera.error or "")
        self._publisher.publish(
            self._wiring.info(
                device=self.config.device.id,
                version=__version__,
                run=self._wiring.run,
                machine=MACHINE,
                python=platform.python_version(),
                start_s=start_s,
                model=model,
                camera=CameraInfo(**mode, state=camera.state, error=error),
                config=configs.redacted(self.config),
            )
        )
        self._model_name = model.name
        self.announce()
        if camera.state != "online":
            self._connect()

    def announce(self) -> None:
        """Tell Home Assistant what there is, where that is wanted."""
        wanted, publish = self.config.homeassistant, self.config.publish
        if not wanted.discovery:
            return
        self._publisher.publish(
            homeassistant.announce(
                prefix=wanted.prefix,
                base=self._wiring.base,
                device=self.config.device.id,
                version=__version__,
                labels=self._wiring.labels,
                model=self._model_name,
                telemetry_interval_s=publish.telemetry_interval_s,
                snapshots=self.config.snapshot.enabled,
            )
        )

    def seen(self, frame: Frame) -> None:
        """Count a frame, and those that were replaced before they were looked at."""
        self.frames_total += 1
        self._dropped_total += max(0, frame.sequence - self._sequence - 1)
        self._sequence = frame.sequence

    def classified(
        self,
        frame: Frame,
        prediction: Prediction | InvalidScores,
        change: LabelChange | None,
        times: FrameTimes,
        wait_ns: int,
    ) -> None:
        """Hand over what a frame has changed."""
        begin_ns = time.monotonic_ns()
        self._scores = not isinstance(prediction, InvalidScores)
        if isinstance(prediction, InvalidScores):
            self._invalid(frame, prediction, begin_ns)
        else:
            self._predicted(frame, prediction, change, begin_ns)
        self._connect()
        handed_ns = time.monotonic_ns()
        self._stages.add(wait_ns, times, handed_ns - begin_ns, handed_ns - frame.captured_ns)

    def _predicted(
        self, frame: Frame, prediction: Prediction, change: LabelChange | None, begin_ns: int
    ) -> None:
        publish, send = self.config.publish, self._publisher.publish
        last, self.last = self.last, prediction
        if change is not None:
            eventlog.write(
                "label_changed", f"{change.before} -> {change.after} ({change.score:.2f})"
            )
            send(self._wiring.label_changed(change, frame.sequence))
        full = last is not None and last.partial and not prediction.partial
        heartbeat = begin_ns - self._state_ns >= publish.state_interval_s * 1e9
        if change is not None or last is None or full or heartbeat:
            self.state()
        if publish.result and begin_ns - self._result_ns >= 1e9 / publish.result_rate:
            self._result_ns = begin_ns
            latency_ns = begin_ns - frame.captured_ns
            send(self._wiring.result(prediction, latency_ns, publish.top_k))
        if change is not None and self.config.snapshot.enabled and self.config.snapshot.on_event:
            self.snapshot(frame)

    def _invalid(self, frame: Frame, scores: InvalidScores, begin_ns: int) -> None:
        """Count a frame without scores; the state stays as it is, and is not sent again."""
        self.invalid_scores_total += 1
        if begin_ns - self._invalid_ns >= AGAIN_NS:
            line = f"frame {frame.sequence} has no scores: {scores.why}; such frames are counted"
            self.event("scores_invalid", line, error=scores.why, frame=frame.sequence)
        self._invalid_ns = begin_ns

    def _connect(self) -> None:
        if not self._connecting:  # not before: `online` follows `info` and `state`
            self._connecting = True
            self._publisher.connect()

    def camera_changed(self, change: Change) -> None:
        """Tell that the camera has gone, is back, differs, or will hardly come back."""
        if change.news:
            type, line, evidence = eventlog.camera(change, self._sequence)
            self.event(type, line, **evidence)

    def state(self) -> None:
        """Publish the newest prediction, if there is one."""
        self._state_ns = time.monotonic_ns()
        if self.last is not None:
            top_k = self.config.publish.top_k
            self._publisher.publish(self._wiring.state(self.last, self.paused, top_k))

    def event(self, type: EventType, line: str, **evidence: float | int | str) -> None:
        """Publish an event, and log ``line`` about it."""
        eventlog.write(type, line)
        self._publisher.publish(self._wiring.event(type, evidence=evidence))

    def snapshot(self, frame: Frame, caption: bool | None = None) -> int | None:
        """Publish a JPEG; return its bytes, None where it cannot be made so small.

        frame  the newest; where the camera has larger pictures, the next of those is taken
        """
        with contextlib.suppress(CameraError):  # the loop will see to that
            frame = self.camera.still() or frame
        wanted, last = self.config.snapshot, self.last
        text = ""
        if last is not None and (wanted.caption if caption is None else caption):
            text = f"{last.label or '?'} {last.score:.2f}"
        jpeg = snapshots.encode(frame, width=wanted.width, max_bytes=wanted.max_bytes, caption=text)
        if jpeg is None:
            return None
        self._publisher.publish(self._wiring.snapshot(jpeg, wanted.retain))
        return len(jpeg)

    def due(self) -> bool:
        """Whether it is time for telemetry."""
        wanted_s = self.config.publish.telemetry_interval_s
        return time.monotonic_ns() - self._telemetry_ns >= wanted_s * 1e9

    def telemetry(self) -> None:
        """Publish how the interval went, and begin the next."""
        figures, corrupt_total = self.figures(), self.camera.corrupt_total
        self._telemetry_ns, self._telemetry_frames = time.monotonic_ns(), self.frames_total
        if corrupt_total > self._corrupt_told:
            new, self._corrupt_told = corrupt_total - self._corrupt_told, corrupt_total
            line = f"{corrupt_total} corrupt frames so far"
            self.event("frames_corrupt", line, corrupt_frames=new, corrupt_total=corrupt_total)
        self._publisher.publish(self._wiring.telemetry(**figures))
        seen = "paused" if self.paused else statusline.seen(self.last, self._scores)
        camera, broker = self.camera.state, self._publisher.online
        self._notifier.status(statusline.line(figures, seen, camera, broker))
        self._stages.clear()

    def figures(self) -> dict[str, Any]:
        """Return the telemetry of the interval so far."""
        interval_s = (time.monotonic_ns() - self._telemetry_ns) / 1e9
        frames = self.frames_total - self._telemetry_frames
        return {
            "interval_s": round(interval_s, 3),
            "fps": round(frames / interval_s, 2) if interval_s else 0.0,
            "frames_total": self.frames_total,
            "dropped_total": self._dropped_total,
            "corrupt_total": self.camera.corrupt_total,
            "camera_problem": self.camera.state != "online" or (not frames and interval_s >= 1),
            "stages_ms": self._stages.percentiles_ms(),
            **asdict(self._health.read()),
            "uptime_s": self.uptime_s,
            "unsent_total": self._publisher.unsent_total,
            "spooled": len(self._spool),
            "spool_failures_total": self._spool.failures_total,
            "reconnects_total": self._publisher.reconnects_total,
            "requests_total": self.requests_total,
            "reopens_total": self.camera.reopens_total,
            "invalid_scores_total": self.invalid_scores_total,
        }
