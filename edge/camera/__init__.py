"""Cameras: from the text that names a source to an open one. One file for each kind."""

from __future__ import annotations

import glob
import importlib.util
from dataclasses import replace
from pathlib import Path

from edge.camera.images import ImagesCamera
from edge.camera.stream import open_live
from edge.camera.synthetic import SyntheticCamera
from edge.camera.v4l2 import V4l2Camera
from edge.camera.v4l2_device import is_camera
from edge.camera.video import VideoCamera
from edge.errors import CameraError
from edge.frames import Camera, CameraSpec


def open_camera(asked: CameraSpec) -> Camera:
    """Return an open camera. Raises CameraError."""
    source = asked.source
    if source == "auto":
        source = find()
        asked = replace(asked, source=source, shown=source)
    kind, _, number = source.partition(":")
    if kind == "synthetic":
        return SyntheticCamera(asked)
    if kind == "picamera2":
        from edge.camera.picamera2 import Picamera2Camera

        if number and not number.isdigit():
            raise CameraError(
                "not a camera number", where=asked.shown, expected="picamera2:0 or so"
            )
        return Picamera2Camera(int(number or 0), asked)
    if source.startswith(("http://", "https://")):
        from edge.camera.web import open_web

        return open_web(asked)
    if "://" in source:
        return open_live(asked)
    try:
        path = Path(source).expanduser()
        if path.is_char_device() or source.startswith(("/dev/video", "/dev/v4l/")):
            return V4l2Camera(asked)
        if path.is_dir():
            return ImagesCamera(path, asked)
        if path.exists():
            return VideoCamera(path, asked)
    except (OSError, RuntimeError, ValueError) as exc:  # no home; a NUL in the name
        if isinstance(exc, CameraError):
            raise
        raise CameraError(f"source cannot be read: {exc}", where=asked.shown) from exc
    raise CameraError(
        "no such source",
        reason="absent",
        where=asked.shown,
        expected="auto, picamera2, /dev/videoN, rtsp://..., http://..., a video file,"
        " a folder of images, or synthetic",
    )


def find() -> str:
    """Return the camera of this machine: the Pi's own where its library is, else a V4L2 one."""
    if importlib.util.find_spec("picamera2"):
        return "picamera2"
    devices = sorted(glob.glob("/dev/video[0-9]*"), key=lambda path: (len(path), path))
    for device in filter(is_camera, devices):  # a Pi has more of codecs than of cameras
        return device
    raise CameraError(
        "no camera found",
        reason="absent",
        where="camera.source = auto",
        expected="picamera2 installed, or a /dev/videoN",
        hint="connect one, or name a source: --source FILE.mp4",
    )
