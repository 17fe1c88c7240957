"""Web servers of cameras, scripted by the test, byte by byte."""

from __future__ import annotations

import contextlib
import functools
import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest

MULTIPART = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=%b\r\n\r\n"
MIB = 1 << 20


class WebCamera:
    """Answers each request by ``answer(connection, request, number)``, numbers from 0.

    The connection is kept where ``answer`` returns True.
    """

    def __init__(self, answer: Callable[[socket.socket, bytes, int], bool | None]) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._answer, self._numbers = answer, itertools.count()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/cam"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = self._socket.accept()[0]
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while request := self._request(connection):
                self.requests.append(request)
                if not self._answer(connection, request, next(self._numbers)):
                    return

    def _request(self, connection: socket.socket) -> bytes:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            more = connection.recv(4096)
            if not more:
                return b""
            request += more
        return request


@functools.cache
def color(name: str) -> bytes:
    """Return a picture of one colour."""
    bgr = {"red": (0, 0, 200), "green": (0, 200, 0), "blue": (200, 0, 0)}[name]
    return cv2.imencode(".jpg", np.full((240, 320, 3), bgr, np.uint8))[1].tobytes()


def part(content: bytes, boundary: bytes = b"--cut", head: bytes = b"") -> bytes:
    """Return a picture as a part, its length named; ``head`` replaces its header."""
    head = head or b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n" % len(content)
    return boundary + b"\r\n" + head + b"\r\n" + content + b"\r\n"


def resized(picture: bytes, width: int, height: int) -> bytes:
    """Return a JPEG that says it is so large; its pixels are still the few that it has."""
    at = picture.index(b"\xff\xc0") + 5
    return picture[:at] + struct.pack(">HH", height, width) + picture[at + 4 :]


def show(connection: socket.socket, content: bytes, until: Callable[[], bool]) -> None:
    """Send a part twenty times a second until ``until``."""
    while not until():
        show_once(connection, content)


def show_once(connection: socket.socket, content: bytes) -> None:
    """Send a part, and wait for a twentieth of a second."""
    connection.sendall(content)
    time.sleep(0.05)


def single(content: bytes, *fields: bytes) -> bytes:
    """Return an answer that holds one picture."""
    head = [b"HTTP/1.1 200 OK", b"Content-Type: image/jpeg", b"Content-Length: %d" % len(content)]
    return b"\r\n".join([*head, *fields, b"", b""]) + content


def flood(total_bytes: int, piece: bytes = bytes(MIB)) -> Iterator[bytes]:
    """Return pieces of rubbish, ``total_bytes`` in all."""
    for _ in range(total_bytes // len(piece)):
        yield piece


def slowly(content: bytes, count: int) -> Iterator[bytes]:
    """Return a part again and again, so slowly that a reader can take each."""
    for _ in range(count):
        yield content
        time.sleep(0.1)


@pytest.fixture
def web() -> Iterator[Callable[..., WebCamera]]:
    """Return a function that starts a web camera."""
    with contextlib.ExitStack() as stack:

        def start(answer: Callable[[socket.socket, bytes, int], bool | None]) -> WebCamera:
            camera = WebCamera(answer)
            stack.callback(camera.close)
            return camera

        yield start
