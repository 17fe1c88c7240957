"""Cameras: from the text that names a source to an open one. One file for each kind."""

from __future__ import annotations

import glob
import importlib.util
from pathlib import Path

from edge.camera.capture import CaptureCamera
from edge.camera.images import ImagesCamera
from edge.camera.synthetic import SyntheticCamera
from edge.camera.video import VideoCamera
from edge.errors import CameraError
from edge.types import Camera, Seconds


def open_camera(
    source: str,
    *,
    shown: str,
    width: int,
    height: int,
    fps: float,
    fast: bool,
    loop: bool,
    timeout_s: Seconds,
) -> Camera:
    """Return an open camera.

    source     auto, picamera2[:N], synthetic, /dev/..., rtsp://..., http://..., a file, a folder
    shown      ``source`` without credentials
    timeout_s  for the first frame of a live source
    Raises CameraError.
    """
    if source == "auto":
        source = shown = _find()
    kind, _, number = source.partition(":")
    if kind == "synthetic":
        return SyntheticCamera(width, height, fps, fast)
    if kind == "picamera2":
        from edge.camera.picamera2 import Picamera2Camera

        if number and not number.isdigit():
            raise CameraError("not a camera number", where=shown, expected="picamera2:0 or so")
        return Picamera2Camera(int(number or 0), width, height, fps)
    if "://" in source:
        return CaptureCamera(source, shown, width, height, fps, timeout_s)
    try:
        path = Path(source).expanduser()
        if path.is_char_device() or source.startswith("/dev/video"):
            return CaptureCamera(source, shown, width, height, fps, timeout_s)
        if path.is_dir():
            return ImagesCamera(path, fps, loop=loop, fast=fast)
        if path.is_file():
            return VideoCamera(path, loop=loop, fast=fast)
    except (OSError, RuntimeError) as exc:
        raise CameraError(f"source cannot be read: {exc}", where=shown) from exc
    raise CameraError(
        "no such source",
        where=shown,
        expected="auto, picamera2, /dev/videoN, rtsp://..., http://..., a video file,"
        " a folder of images, or synthetic",
    )


def _find() -> str:
    """Return the camera of this machine: the Pi's own where its library is, else a V4L2 one."""
    if importlib.util.find_spec("picamera2"):
        return "picamera2"
    devices = sorted(glob.glob("/dev/video[0-9]*"), key=lambda path: (len(path), path))
    if devices:
        return devices[0]
    raise CameraError(
        "no camera found",
        where="camera.source = auto",
        expected="picamera2 installed, or a /dev/videoN",
        mend="connect one, or name a source: --source FILE.mp4",
    )
