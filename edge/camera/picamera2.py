"""The Pi's own camera through picamera2 and libcamera.

libcamera's ISP scales: the ``lores`` stream arrives as YUV420, planes below each other, with
padded rows; one bulk copy takes it out of the camera's uncached pages. libcamera's threads fill
the buffers; the caller's thread takes them. Source: picamera2 manual, 4.2 and 6.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.camera import controls
from edge.errors import CameraError
from edge.types import CameraMode, Frame, Seconds

LIBCAMERA: Final = {
    "exposure_us": "ExposureTime",
    "gain": "AnalogueGain",
    "brightness": "Brightness",
    "contrast": "Contrast",
    "saturation": "Saturation",
    "sharpness": "Sharpness",
}
"""Our names -> libcamera's; its ranges are ours."""


class Picamera2Camera:
    """Camera ``number`` of libcamera's list. Raises CameraError where it cannot be had."""

    def __init__(self, number: int, width: int, height: int, fps: float) -> None:
        try:
            from picamera2 import MappedArray, Picamera2
        except ImportError as exc:
            raise CameraError(
                f"picamera2 cannot be imported: {exc}",
                where=f"picamera2:{number}",
                mend="apt install python3-picamera2",
            ) from exc
        try:
            self._camera: Any = Picamera2(number)
        except (RuntimeError, IndexError) as exc:
            raise CameraError(
                f"no such camera: {exc}",
                where=f"picamera2:{number}",
                mend="check the cable and `rpicam-hello --list-cameras`",
            ) from exc
        try:
            self._camera.configure(
                self._camera.create_video_configuration(
                    main={"size": (width, height)},
                    lores={"size": (width, height), "format": "YUV420"},
                    controls={"FrameRate": fps},
                    buffer_count=3,
                    queue=False,
                )
            )
            lores = self._camera.camera_configuration()["lores"]
            self._width, self._height = lores["size"]
            self._stride = int(lores["stride"])
            self._camera.start()
        except (RuntimeError, ValueError, OSError) as exc:
            self._camera.close()
            raise CameraError(f"cannot be started: {exc}", where=f"picamera2:{number}") from exc
        self.mode = CameraMode(
            "picamera2", f"picamera2:{number}", self._width, self._height, fps, "i420"
        )
        self.corrupt_total = 0
        self._pixels: NDArray[np.uint8] = np.empty((self._height * 3 // 2, self._width), np.uint8)
        self._padded: NDArray[np.uint8] = np.empty(self._stride * self._height * 3 // 2, np.uint8)
        self._mapped = MappedArray
        self._job: Any = None
        self._last_ns = 0
        self._sequence = -1
        self._period_ns = 1e9 / fps

    def read(self, timeout_s: Seconds) -> Frame | None:
        """Return the next frame the sensor completes; overwritten by the next ``read``."""
        if self._job is None:
            self._job = self._camera.capture_request(wait=False)
        try:
            request = self._camera.wait(self._job, timeout=timeout_s)
        except (TimeoutError, FutureTimeoutError):
            return None
        except RuntimeError as exc:
            raise CameraError(f"has gone: {exc}", where=self.mode.source) from exc
        self._job = None
        try:
            captured_ns = self._captured_ns(request.get_metadata())
            with self._mapped(request, "lores", reshape=False, write=False) as buffer:
                np.copyto(self._padded, buffer.array[: self._padded.size])
        finally:
            request.release()
        unpad(self._padded, self._stride, self._pixels)
        gap = round((captured_ns - self._last_ns) / self._period_ns) if self._last_ns else 1
        self._sequence += max(1, gap)
        self._last_ns = captured_ns
        return Frame(self._sequence, captured_ns, self._pixels, "i420")

    def control(self, wanted: Mapping[str, float]) -> None:
        """Hand controls to libcamera, from the next frames on."""
        controls.check(wanted, tuple(LIBCAMERA), self.mode.source)
        given: dict[str, Any] = {LIBCAMERA[name]: value for name, value in wanted.items()}
        if wanted.keys() & {"exposure_us", "gain"}:
            given["AeEnable"] = False
        self._camera.set_controls(given)

    def close(self) -> None:
        """Stop and release the camera, so that another object may open it."""
        self._camera.stop()
        self._camera.close()

    def _captured_ns(self, metadata: dict[str, Any]) -> int:
        """Return the sensor's time stamp, CLOCK_BOOTTIME, as a monotonic reading."""
        now_ns = time.monotonic_ns()
        stamp = metadata.get("SensorTimestamp")
        if not stamp:
            return now_ns
        return int(stamp) - (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - now_ns)


def unpad(padded: NDArray[np.uint8], stride: int, out: NDArray[np.uint8]) -> None:
    """Copy a YUV420 picture whose rows are ``stride`` bytes apart into one without padding.

    padded  (stride * H * 3 / 2,) rows of Y, then of U and of V, these ``stride / 2`` apart
    out     (H * 3 / 2, W) overwritten: the three planes below each other
    """
    width, height = out.shape[1], out.shape[0] * 2 // 3
    flat, luma = out.reshape(-1), height * width
    out[:height] = padded[: stride * height].reshape(height, stride)[:, :width]
    chroma = padded[stride * height :].reshape(height, stride // 2)[:, : width // 2]
    flat[luma:].reshape(height, width // 2)[...] = chroma
