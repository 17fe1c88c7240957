"""Cameras: opens the one that a source's name denotes. One file for each kind of source."""

from __future__ import annotations

import glob
import importlib.util
from pathlib import Path

from edge.camera.images import ImagesCamera
from edge.camera.recorded import RecordedCamera
from edge.camera.recording import SUFFIX
from edge.camera.spec import CameraSpec
from edge.camera.stream import open_live
from edge.camera.synthetic import SyntheticCamera
from edge.camera.v4l2 import V4l2Camera
from edge.camera.v4l2_device import is_camera
from edge.camera.video import VideoCamera
from edge.errors import CameraError
from edge.frames import Camera


def open_camera(spec: CameraSpec) -> Camera:
    """Return an open camera, its controls not yet set. Raises CameraError."""
    if spec.source == "auto":
        spec = spec.at(find())
    source = spec.source
    kind, _, number = source.partition(":")
    if kind == "synthetic":
        return SyntheticCamera(spec)
    if kind == "picamera2":
        from edge.camera.picamera2 import Picamera2Camera

        if number and not number.isdigit():
            raise CameraError("not a camera number", where=spec.name, expected="picamera2:0 or so")
        return Picamera2Camera(int(number or 0), spec)
    if source.startswith(("http://", "https://")):
        from edge.camera.web import open_web

        return open_web(spec)
    if "://" in source:
        return open_live(spec)
    try:
        path = Path(source).expanduser()
        if path.is_char_device() or source.startswith(("/dev/video", "/dev/v4l/")):
            return V4l2Camera(spec)
        if path.is_dir():
            return ImagesCamera(path, spec)
        if path.exists():
            return (RecordedCamera if path.suffix == SUFFIX else VideoCamera)(path, spec)
    except (OSError, RuntimeError, ValueError) as exc:  # no home; a NUL in the name
        if isinstance(exc, CameraError):
            raise
        raise CameraError(f"source cannot be read: {exc}", where=spec.name) from exc
    raise CameraError(
        "no such source",
        reason="absent",
        where=spec.name,
        expected="auto, picamera2, /dev/videoN, rtsp://..., http://..., a video file,"
        " a recording, a folder of images, or synthetic",
    )


def find() -> str:
    """Return this machine's camera: the Pi's own if its library is installed, else a V4L2 one."""
    if importlib.util.find_spec("picamera2"):
        return "picamera2"
    devices = sorted(glob.glob("/dev/video[0-9]*"), key=lambda path: (len(path), path))
    for device in filter(is_camera, devices):  # a Pi has more codecs than cameras
        return device
    raise CameraError(
        "no camera found",
        reason="absent",
        where="camera.source = auto",
        expected="picamera2 installed, or a /dev/videoN",
        hint="connect one, or name a source: --source FILE.mp4",
    )
