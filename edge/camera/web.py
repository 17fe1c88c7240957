"""Opens a camera's web server: motion JPEG, or a single picture that is requested repeatedly.

Everything else (HLS, MPEG-TS, FLV, MP4 ...) is left to FFmpeg.
"""

from __future__ import annotations

import time
from typing import Final

from edge.camera import jpeg
from edge.camera.http import Answer, Client, NotHttp
from edge.camera.jpegs import JpegCamera
from edge.camera.polled import Polled
from edge.camera.receiver import MotionJpeg, Receiver
from edge.camera.refusal import refused
from edge.camera.spec import CameraSpec
from edge.camera.stream import open_live
from edge.errors import CameraError
from edge.frames import Camera, Seconds

OK: Final = 200
ROW: Final = "fpsprobesize;0|analyzeduration;1000000|probesize;1000000"
"""Else FFmpeg probes a row of small pictures until the time-out."""


def open_web(spec: CameraSpec) -> Camera:
    """Return the camera at an address of http or https. Raises CameraError."""
    until_s = time.monotonic() + spec.timeout_s
    client = Client(spec.source, spec.name, spec.timeout_s)
    try:
        receiver = _receiver(client, spec, until_s)
    except BaseException:
        client.drop()
        raise
    if isinstance(receiver, str):
        client.drop()
        return open_live(spec, receiver)
    if isinstance(receiver, Polled):
        return JpegCamera(receiver, spec, until_s, form="jpeg", fps=spec.config.fps)
    return JpegCamera(receiver, spec, until_s, form="mjpeg")


def _receiver(client: Client, spec: CameraSpec, until_s: Seconds) -> Receiver | str:
    """Return what receives the pictures; if FFmpeg has to, its options for probing."""
    try:
        answer = client.get()
    except NotHttp:
        return ""
    if answer.status != OK:
        raise refused(answer.status, spec.name)
    if answer.type.startswith("multipart/"):
        _check_encoding(answer, spec)
        return MotionJpeg(client, answer, spec)
    begun = b""
    try:
        while len(begun) < len(jpeg.START) and (more := answer.read(until_s)):
            begun += more
    except OSError as exc:
        raise CameraError("opened, but sends nothing", reason="stalled", where=spec.name) from exc
    picture = begun.startswith(jpeg.START) or (
        answer.type.startswith("image/j") and not begun.startswith(b"--")  # of a multipart body
    )
    if not picture:
        return ""
    if answer.length is None and answer.type == "application/octet-stream":
        return ROW  # of pictures, without end
    _check_encoding(answer, spec)
    return Polled(client, answer, begun, spec)


def _check_encoding(answer: Answer, spec: CameraSpec) -> None:
    encoding = answer.header("Content-Encoding").lower()
    if encoding not in ("", "identity"):
        what = "pictures come in an encoding that was not requested"
        hint = "switch compression off in the server"
        raise CameraError(what, reason="unsupported", where=spec.name, got=encoding, hint=hint)
