"""The Pi's own camera through picamera2 and libcamera.

The image processor scales: frames come from the ``lores`` stream, near the model's size, and the
``main`` stream in full size is copied only where ``still`` asks. One bulk copy takes a picture out
of the camera's uncached pages.

libcamera's threads fill the buffers and picamera2's thread hands them on, as finished requests. One
thread at a time calls this class: one may open the camera, another read, a third close it.
Source: picamera2 manual, 4.2 and 6; its source, 0.3.38.
"""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from edge import geometry
from edge.camera import isp, planes
from edge.camera.spec import CameraSpec
from edge.errors import CameraError, CameraReason
from edge.frames import CameraMode, ControlValue, Frame, Seconds

BUFFERS: Final = 4
"""Two being filled, the newest waiting to be read, and one being read."""
STILL_S: Final = 1.0
"""Longest wait for a picture in full size: the loop blocks meanwhile."""

log = logging.getLogger(__name__)


class Picamera2Camera:
    """Camera ``number`` of libcamera's list. Raises CameraError if it cannot be opened."""

    def __init__(self, number: int, spec: CameraSpec) -> None:
        self._where, self._timeout_s = spec.name, spec.timeout_s
        self.corrupt_total = 0
        self._job: Any = None
        self._sequence, self._last_ns = spec.first_sequence - 1, 0
        self._camera: Any = _open(number, spec.name)
        try:
            self._start(spec)
        except Exception as exc:  # the libraries raise errors of any kind
            self.close()
            if isinstance(exc, CameraError):
                raise
            raise _failed("cannot be started", exc, spec.name) from exc

    def _start(self, spec: CameraSpec) -> None:
        """Configure the streams, read back the result, and start them."""
        import libcamera

        camera, view = self._camera, spec.view
        cropping = "ScalerCrop" in camera.camera_controls
        paced = "FrameDurationLimits" in camera.camera_controls
        plan = isp.plan(spec, cropping)
        horizontal, vertical = plan.flips
        camera.configure(
            camera.create_video_configuration(
                main={"size": plan.main, "format": "YUV420"},
                lores={"size": plan.lores, "format": "YUV420"} if plan.lores else None,
                raw=None,
                transform=libcamera.Transform(hflip=horizontal, vflip=vertical),
                # for every size: the conversion to RGB assumes it
                colour_space=libcamera.ColorSpace.Smpte170m(),
                controls={"FrameRate": spec.config.fps} if paced else {},
                buffer_count=BUFFERS,
                queue=True,  # keeps the newest frame, so that a slow reader does not wait for one
            )
        )
        got = camera.camera_configuration()
        self._main = self._frames = planes.stream("main", got["main"], spec.name)
        if plan.lores:
            self._frames = planes.stream("lores", got["lores"], spec.name)
        self._view = isp.rest(view, (bool(got["transform"].hflip), bool(got["transform"].vflip)))
        # Set for the whole picture, too: by default a Pi 5 cuts each stream to its own shape.
        if cropping and (plan.lores or view.roi != geometry.WHOLE):
            largest = camera.camera_controls["ScalerCrop"][1]
            part = isp.crop(largest, isp.whole(spec), geometry.before_turning(self._view))
            camera.set_controls({"ScalerCrop": part})
            self._view = replace(self._view, roi=geometry.WHOLE)
        fps = spec.config.fps
        if paced:
            least, most, _ = camera.camera_controls["FrameDurationLimits"]
            fps = min(max(fps, 1e6 / most), 1e6 / least)
        self._period_ns = 1e9 / fps
        camera.start()
        frames = self._frames
        self.mode = CameraMode(
            "picamera2",
            spec.name,
            frames.width,
            frames.height,
            fps,
            got[frames.name]["format"],
            device=str(camera.camera_properties.get("Model", "")),
            still=(self._main.width, self._main.height) if plan.lores else None,
        )

    def read(self, timeout_s: Seconds) -> Frame | None:
        """Return the newest frame not yet read; overwritten by the next ``read``."""
        return self._take(self._frames, timeout_s)

    def still(self) -> Frame | None:
        """Return the next picture of the ``main`` stream; it is missing among the frames."""
        if self._main is self._frames:
            return None
        frame = self._take(self._main, min(STILL_S, self._timeout_s))
        if frame is None:
            raise CameraError(
                f"no picture within {STILL_S:g} s", reason="stalled", where=self._where
            )
        return frame

    def control(self, values: Mapping[str, ControlValue]) -> None:
        """Hand controls to libcamera, from the next frames on."""
        settings = isp.translated(values, self._camera.camera_controls, self._where)
        self._camera.set_controls(settings)

    def close(self) -> None:
        """Stop and release the camera, so that another object may open it."""
        if self._camera is None:
            return
        with contextlib.suppress(Exception):
            self._release_old()
        camera, self._camera = self._camera, None
        try:
            # stop() is not called first: it waits for a frame, and a stalled camera has none.
            camera.close()
        except Exception as exc:
            log.warning("%s: not closed properly: %s", self._where, exc)

    def _take(self, stream: planes.Stream, timeout_s: Seconds) -> Frame | None:
        """Return the next picture of a stream, or None after ``timeout_s``."""
        try:
            self._release_old()
            if self._job is None:
                self._job = self._camera.capture_request(wait=False)
            request = self._completed(timeout_s)
            if request is None:
                return None
            try:
                captured_ns = self._count(request.get_metadata())
                pixels = stream.copy(request)
            finally:
                request.release()
        except Exception as exc:  # the libraries raise errors of any kind
            raise _failed("has gone", exc, self._where, "gone") from exc
        return Frame(self._sequence, captured_ns, pixels, stream.format, self._view)

    def _completed(self, timeout_s: Seconds) -> Any:
        """Return the finished request, or None if it does not come in time."""
        job, self._job = self._job, None
        try:
            return self._camera.wait(job, timeout=timeout_s)
        except TimeoutError:
            self._job = job
            return None

    def _release_old(self) -> None:
        """Release the request that finished after a read timed out: it is not the newest."""
        request = self._completed(0) if self._job is not None else None
        if request is not None:
            request.release()

    def _count(self, metadata: Mapping[str, Any]) -> int:
        """Return the sensor's time of the frame, monotonic; count frames by the gap before it."""
        now_ns = time.monotonic_ns()
        stamp = metadata.get("SensorTimestamp")  # CLOCK_BOOTTIME
        captured_ns = now_ns
        if stamp:
            captured_ns = int(stamp) - (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - now_ns)
        period_ns = metadata.get("FrameDuration", 0) * 1000 or self._period_ns
        gap = round((captured_ns - self._last_ns) / period_ns) if self._last_ns else 1
        self._sequence += max(1, gap)
        self._last_ns = captured_ns
        return captured_ns


def _open(number: int, where: str) -> Any:
    """Return an open Picamera2 object."""
    try:
        from picamera2 import Picamera2
    except Exception as exc:  # ImportError, or another error of a mismatched library
        raise CameraError(
            f"picamera2 cannot be imported: {exc}",
            reason="unsupported",
            where=where,
            hint="apt install python3-picamera2",
        ) from exc
    try:
        count = len(Picamera2.global_camera_info())
    except Exception as exc:
        raise _failed("cameras cannot be listed", exc, where) from exc
    if number >= count:
        closed = [path for path in glob.glob("/dev/media*") if not os.access(path, os.R_OK)]
        raise CameraError(
            "no such camera",
            reason="denied" if closed else "absent",
            where=where,
            expected=f"one of {count}" if count else "",
            hint=f"add this user to the group of {closed[0]}"
            if closed
            else "check the cable and `rpicam-hello --list-cameras`",
        )
    camera = Picamera2.__new__(Picamera2)
    try:
        camera.__init__(number)
    except Exception as exc:
        # A half-made object may hold the camera; made in two steps, it can be closed. If it does
        # not, close() does nothing, and one end of a pipe would leak at each try.
        with contextlib.suppress(Exception):
            camera.close() if camera.is_open else os.close(camera.notifyme_w)
        raise _failed("cannot be opened", exc, where) from exc
    return camera


REASONS: Final[dict[str, CameraReason]] = {
    "busy": "busy",
    "permission denied": "denied",
    "not permitted": "denied",
    "dmaheap": "denied",
    "no such device": "gone",
}
"""A part of libcamera's message -> the reason."""


def _failed(
    what: str, exc: BaseException, where: str, reason: CameraReason = "failed"
) -> CameraError:
    """Return the error for one of picamera2's; the reason may be in the errors before it."""
    messages = []
    cause: BaseException | None = exc
    while cause is not None:
        messages.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    for text, known in REASONS.items():
        if text in " ".join(messages).lower():
            reason = known
            break
    return CameraError(f"{what}: {messages[-1] or type(exc).__name__}", reason=reason, where=where)
