"""Snapshots: a frame as a JPEG, published on a change of label or by request."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from edge.camera.reconnect import Recovery
from edge.contract import Snapshot
from edge.contract.encode import Wire
from edge.daemon.commands import Answer
from edge.daemon.run import Run
from edge.errors import CameraError, ConfigError
from edge.frames import Frame
from edge.messages import Message
from edge.pipeline import jpeg as jpegs


class Snapshots:
    """Makes and publishes pictures."""

    def __init__(
        self, run: Run, wire: Wire, camera: Recovery, publish: Callable[[Message], None]
    ) -> None:
        self._run, self._wire, self._camera, self._publish = run, wire, camera, publish

    def take(self, frame: Frame, caption: bool | None = None) -> int | None:
        """Publish a JPEG; return its bytes, None where it does not fit in ``max_bytes``."""
        jpeg = self._encode(frame, caption)
        if jpeg is None:
            return None
        self._publish(self._wire.snapshot(jpeg, self._run.config.snapshot.retain))
        return len(jpeg)

    def _encode(self, frame: Frame, caption: bool | None) -> bytes | None:
        """Return a JPEG; None where it does not fit in ``max_bytes``.

        frame    the newest; where the camera has larger pictures, the next of those is taken
        caption  whether the label is drawn; None: as configured
        """
        with contextlib.suppress(CameraError):  # the loop finds out itself
            frame = self._camera.still() or frame
        config, last = self._run.config.snapshot, self._run.last
        text = ""
        if last is not None and (config.caption if caption is None else caption):
            text = f"{last.label or '?'} {last.score:.2f}"
        return jpegs.encode(frame, width=config.width, max_bytes=config.max_bytes, caption=text)

    def handle(self, request: Snapshot, send: Callable[[bytes], None] | None = None) -> Answer:
        """Publish the newest frame. Raises ConfigError where that cannot be.

        send  takes the JPEG instead, for the one who asks alone
        """
        if not self._run.config.snapshot.enabled:
            raise ConfigError("snapshots are off", hint="set snapshot.enabled in the config")
        if self._run.frame is None:
            raise ConfigError("there is no frame now", got=f"camera {self._camera.state}")
        jpeg = self._encode(self._run.frame, request.caption)
        if jpeg is None:
            raise ConfigError(
                "snapshot does not fit in max_bytes", expected="a larger snapshot.max_bytes"
            )
        if send is None:
            self._publish(self._wire.snapshot(jpeg, self._run.config.snapshot.retain))
        else:
            send(jpeg)
        return {"bytes": len(jpeg)}
