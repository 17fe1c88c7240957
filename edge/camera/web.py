"""A camera's web server: motion JPEG, or a single picture that is asked for again and again.

What else a web server may give (HLS, MPEG-TS, FLV, MP4 ...) is FFmpeg's.
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
from edge.camera.stream import open_live
from edge.errors import CameraError
from edge.frames import Camera, CameraSpec, Seconds

OK: Final = 200
ROW: Final = "fpsprobesize;0|analyzeduration;1000000|probesize;1000000"
"""Else FFmpeg looks at a row of small pictures until the time is up."""


def open_web(asked: CameraSpec) -> Camera:
    """Return the camera at an address of http or https. Raises CameraError."""
    until_s = time.monotonic() + asked.timeout_s
    client = Client(asked.source, asked.shown, asked.timeout_s)
    try:
        receiver = _receiver(client, asked, until_s)
    except BaseException:
        client.drop()
        raise
    if isinstance(receiver, str):
        client.drop()
        return open_live(asked, receiver)
    if isinstance(receiver, Polled):
        return JpegCamera(receiver, asked, until_s, form="jpeg", fps=asked.fps)
    return JpegCamera(receiver, asked, until_s, form="mjpeg")


def _receiver(client: Client, asked: CameraSpec, until_s: Seconds) -> Receiver | str:
    """Return who receives what the server has; how far FFmpeg is to look where that is its own."""
    try:
        answer = client.get()
    except NotHttp:
        return ""
    if answer.status != OK:
        raise refused(answer.status, asked.shown)
    if answer.type.startswith("multipart/"):
        _check_encoding(answer, asked)
        return MotionJpeg(client, answer, asked)
    begun = b""
    try:
        while len(begun) < len(jpeg.START) and (more := answer.read(until_s)):
            begun += more
    except OSError as exc:
        raise CameraError("opened, but sends nothing", reason="stalled", where=asked.shown) from exc
    picture = begun.startswith(jpeg.START) or (
        answer.type.startswith("image/j") and not begun.startswith(b"--")  # of a multipart body
    )
    if not picture:
        return ""
    if answer.length is None and answer.type == "application/octet-stream":
        return ROW  # of pictures, without end
    _check_encoding(answer, asked)
    return Polled(client, answer, begun, asked)


def _check_encoding(answer: Answer, asked: CameraSpec) -> None:
    encoding = answer.header("Content-Encoding").lower()
    if encoding not in ("", "identity"):
        what = "pictures come in an encoding that was not asked for"
        hint = "switch compression off in the server"
        raise CameraError(what, reason="unsupported", where=asked.shown, got=encoding, hint=hint)
