"""What this device is: the retained `info`, and the announcement to Home Assistant."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Final

from edge import __version__
from edge import config as configs
from edge.camera.reconnect import Recovery
from edge.contract import (
    SCHEMA,
    About,
    CameraInfo,
    CameraMode,
    entities,
    entities_adaptive,
    homeassistant,
)
from edge.contract.encode import Wire
from edge.daemon.run import Run
from edge.messages import Message
from edge.model import engine as engines

MACHINE: Final = f"{platform.system()} {platform.release()} {platform.machine()}"


class Announcer:
    """Publishes what this device is, as the run has it."""

    def __init__(
        self, run: Run, wire: Wire, camera: Recovery, publish: Callable[[Message], None]
    ) -> None:
        self._run, self._wire, self._camera, self._publish = run, wire, camera, publish
        self.status_topic: Final = homeassistant.status_topic(run.config.homeassistant.prefix)
        """Where Home Assistant says that it has started."""
        self._announced: dict[str, str] = {}
        self._labels: tuple[str, ...] | None = None

    def publish(self) -> None:
        """Publish `info`, and announce the device; the state that other labels had is no more."""
        run = self._run
        labels, self._labels = self._labels, run.engine.card.labels
        self._wire.configure(run.engine.card.labels, run.config.publish)
        self._publish(
            self._wire.info(
                About(
                    schema=SCHEMA,
                    device=run.config.device.id,
                    version=__version__,
                    run=run.id,
                    machine=MACHINE,
                    python=platform.python_version(),
                    start_s=run.start_s,
                    model=engines.describe(run.engine),
                    camera=self._camera_info(),
                    config=configs.redacted(run.in_force),
                    thresholds=run.smoother.thresholds,
                )
            )
        )
        if labels not in (None, self._labels) and run.last is None:
            self._publish(self._wire.unknown(run.paused, run.sequence))
        self.announce()

    def announce(self) -> None:
        """Announce the device to Home Assistant, unless that is switched off."""
        config = self._run.config
        adaptive = config.adaptive
        if not config.homeassistant.discovery:
            return
        message = homeassistant.announce(
            prefix=config.homeassistant.prefix,
            base=self._wire.base,
            device=config.device.id,
            version=__version__,
            labels=self._run.engine.card.labels,
            model=self._run.engine.card.name,
            telemetry_interval_s=config.publish.telemetry_interval_s,
            snapshots=config.snapshot.enabled,
            background=self._run.engine.card.background,
            more=(
                *(entities_adaptive.MOTION if adaptive.motion else ()),
                *(entities_adaptive.GOVERNOR if adaptive.governs else ()),
                *(entities.DRIFT if config.drift.enabled else ()),
                *(entities.SHADOW if config.shadow.model else ()),
            ),
            gone=self._announced,
            page=config.homeassistant.page,
        )
        self._announced = homeassistant.announced(message)
        self._publish(message)

    def _camera_info(self) -> CameraInfo:
        config, camera = self._run.config.camera, self._camera
        requested = CameraMode("", config.source, config.width, config.height, config.fps, "")
        mode = camera.mode or requested
        mode = replace(mode, source=configs.without_credentials(mode.source))
        return CameraInfo(**asdict(mode), state=camera.state, error=str(camera.error or ""))
