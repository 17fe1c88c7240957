"""Figures of the run: collected from every part, published as telemetry and as a status line."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge import __version__
from edge.camera.reconnect import Recovery
from edge.contract import Figures, Frames, PlugFigures, Request, Totals
from edge.contract.encode import Wire
from edge.daemon import statusline
from edge.daemon.commands import Answer
from edge.daemon.events import Events
from edge.daemon.run import Run
from edge.daemon.systemd import Notifier
from edge.messages import Message
from edge.mqtt import Publisher
from edge.mqtt.spool import Spool
from edge.pipeline.plugs import Plugs
from edge.telemetry import HealthReader, Stages


class Meter:
    """Measures intervals and publishes their figures."""

    def __init__(
        self,
        run: Run,
        wire: Wire,
        camera: Recovery,
        publisher: Publisher,
        publish: Callable[[Message], None],
        spool: Spool,
        plugs: Plugs,
        stages: Stages,
        events: Events,
        notifier: Notifier,
    ) -> None:
        self._run, self._wire, self._camera = run, wire, camera
        self._publisher, self._publish_message = publisher, publish
        self._spool, self._plugs = spool, plugs
        self._stages, self._events, self._notifier = stages, events, notifier
        self._health = HealthReader()
        self._corrupt_reported = 0
        self._begin_ns, self._frames_before = time.monotonic_ns(), 0

    def begin(self) -> None:
        """Begin an interval."""
        self._begin_ns, self._frames_before = time.monotonic_ns(), self._run.frames_total
        self._stages.clear()

    def tick(self) -> None:
        """Publish the interval once it is over."""
        interval_s = self._run.config.publish.telemetry_interval_s
        if time.monotonic_ns() - self._begin_ns >= interval_s * 1e9:
            self.publish()

    def publish(self) -> None:
        """Publish the interval, and begin the next."""
        figures = self.figures()
        self.begin()
        self._report_corrupt(figures.frames.corrupt_total)
        self._publish_message(self._wire.telemetry(figures))
        run = self._run
        sees = "paused" if run.paused else statusline.label(run.last, run.has_scores)
        line = statusline.line(figures, sees, self._camera.state, self._publisher.online)
        self._notifier.status(line)

    def figures(self) -> Figures:
        """Return the figures of the interval so far."""
        run, camera = self._run, self._camera
        interval_s = (time.monotonic_ns() - self._begin_ns) / 1e9
        frames = run.frames_total - self._frames_before
        return Figures(
            Frames(
                interval_s=round(interval_s, 3),
                fps=round(frames / interval_s, 2) if interval_s else 0.0,
                frames_total=run.frames_total,
                dropped_total=run.dropped_total,
                corrupt_total=camera.corrupt_total,
                camera_problem=camera.state != "online" or (not frames and interval_s >= 1),
                stages_ms=self._stages.percentiles_ms(),
            ),
            self._health.read(),
            Totals(
                uptime_s=run.uptime_s,
                unsent_total=self._publisher.unsent_total,
                spooled=len(self._spool),
                spool_failures_total=self._spool.failures_total,
                reconnects_total=self._publisher.reconnects_total,
                requests_total=run.requests_total,
                reopens_total=camera.reopens_total,
                invalid_scores_total=run.invalid_scores_total,
                second_model_total=run.second_model_total,
            ),
            self._parts(),
        )

    def stats(self, _: Request) -> Answer:
        """Handle `stats`."""
        return self.figures().fields()

    def ping(self, _: Request) -> Answer:
        """Handle `ping`."""
        run = self._run
        return {"run": run.id, "version": __version__, "uptime_s": run.uptime_s}

    def _parts(self) -> dict[str, object]:
        if not self._plugs.configured:
            return {}
        parts = self._plugs.parts()
        skipped, failed = dict(self._run.skipped_total), self._plugs.failed
        return {"plugs": PlugFigures(skipped_total=skipped, failed=failed), **parts}

    def _report_corrupt(self, total: int) -> None:
        new = total - self._corrupt_reported
        if new > 0:
            self._corrupt_reported = total
            line = f"{total} corrupt frames so far"
            self._events.add("frames_corrupt", line, corrupt_frames=new, corrupt_total=total)
