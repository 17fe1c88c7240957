"""Shared by the tests of network streams: real servers, and helpers that read from them."""

from __future__ import annotations

import contextlib
import http.server
import ssl
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge.camera import open_camera
from edge.errors import CameraError
from edge.frames import Camera, Frame
from tests.certificates import Pair
from tests.conftest import ROOT, WAIT_S
from tests.specs import camera_spec

CLIP = ROOT / "deploy" / "demo" / "clip.mp4"
SERVER = ROOT / "tests" / "rtsp_server.py"
SIZE = (328, 248)
"""Width and height of the server's own pictures; no row of them is a multiple of 64 bytes."""
PASSWORD = "s3cret:w@rd"
ESCAPED = "s3cret%3Aw%40rd"


class RtspServer:
    """``rtsp_server.py`` as a process."""

    def __init__(self, *arguments: str) -> None:
        command = ["/usr/bin/python3", str(SERVER), "--clip", str(CLIP), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = self.process.stdout.readline().strip()
        assert self.port, "GStreamer's RTSP server does not start: see its output above"

    def url(self, path: str, login: str = "") -> str:
        """Return the address of a stream."""
        return f"rtsp://{login + '@' if login else ''}127.0.0.1:{self.port}/{path}"

    def close(self) -> None:
        """Kill it, if it still runs."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Pictures:
    """A web camera: pictures as motion JPEG, one every ``interval_s``, then silence or the end.

    status  of any other kind of answer
    content  its type; of another one than multipart, the pictures come as they are
    login   user and password, in base64, that it asks for
    again   the pictures begin again
    pair    of TLS
    """

    def __init__(
        self,
        pictures: Iterable[bytes],
        *,
        interval_s: float = 0.01,
        silent: bool = False,
        status: int = 200,
        content: str = "multipart/x-mixed-replace; boundary=cut",
        login: str = "",
        again: bool = False,
        pair: Pair | None = None,
    ) -> None:
        self.ended = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name is http.server's
                if login and self.headers["Authorization"] != f"Basic {login}":
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                    self.end_headers()
                    return
                self.send_response(status)
                self.send_header("Content-Type", content)
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.send()

            def send(self) -> None:
                while status == 200 and not outer.ended.is_set():
                    for picture in pictures:
                        head = (
                            f"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}"
                        )
                        part = head.encode() + b"\r\n\r\n" + picture + b"\r\n"
                        self.wfile.write(part if content.startswith("multipart") else picture)
                        if outer.ended.wait(interval_s):
                            return
                    if not again:
                        break
                if silent:
                    outer.ended.wait()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if pair:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair.cert, pair.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http{'s' if pair else ''}://127.0.0.1:{self._server.server_port}/cam.mjpg"

    def close(self) -> None:
        """End the connections."""
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


def picture(level: int, size: tuple[int, int] = (320, 240)) -> bytes:
    """Return a JPEG whose brightness is ``level``, large enough that a cut is noticed."""
    noise = np.random.default_rng(0).integers(-20, 21, (size[1], size[0], 3))
    pixels = np.clip(noise + level, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


@contextlib.contextmanager
def opened(url: str, **changes: object) -> Iterator[Camera]:
    """Open a stream for as long as it is used."""
    camera = open_camera(camera_spec(url, **{"stall_timeout_s": 5.0} | changes))
    try:
        yield camera
    finally:
        camera.close()


def frame_of(camera: Camera) -> Frame:
    """Return the next frame; fail if none comes."""
    frame = camera.read(WAIT_S)
    assert frame is not None
    return frame


def to_the_end(camera: Camera, pause_s: float = 0.0) -> tuple[list[Frame], CameraError]:
    """Return every frame, with a copy of its pixels, and the error that ends the stream."""
    frames = []
    try:
        while frame := camera.read(WAIT_S):
            frames.append(replace(frame, pixels=frame.pixels.copy()))
            time.sleep(pause_s)  # a slow reader
    except CameraError as exc:
        return frames, exc
    pytest.fail("the stream fell silent instead of ending")


def refused(url: str, **changes: object) -> CameraError:
    """Return the error for a stream that must not open."""
    with pytest.raises(CameraError) as caught, opened(url, **changes):
        pass
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 74
    return caught.value
