"""Web cameras that give one picture for each request."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.broker import PrivateBroker
from tests.conftest import WAIT_S, Daemon, Listener
from tests.streams import frame_of, opened, refused, to_the_end
from tests.web_cameras import WebCamera, color, single, web

__all__ = ["web"]

Web = Callable[..., WebCamera]
NOT_MODIFIED = b"HTTP/1.1 304 Not Modified\r\n\r\n"
BUSY = b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("kept", [True, False])
def test_pictures_are_requested_repeatedly(web: Web, kept: bool) -> None:
    """On one connection if the server keeps it, else on one for each picture."""
    names = itertools.cycle(("red", "green", "blue"))

    def answer(connection: socket.socket, request: bytes, number: int) -> bool:
        connection.sendall(
            single(color(next(names)), b"Connection: close" if not kept else b"A: b")
        )
        return kept

    camera = web(answer)
    with opened(camera.url, fps=50.0) as opened_camera:
        mode = opened_camera.mode
        assert (mode.driver, mode.width, mode.height, mode.fps) == ("stream", 320, 240, 50.0)
        assert mode.format == "jpeg"
        frames = [frame_of(opened_camera) for _ in range(6)]
        colors = [int(frame.pixels[0, 0].argmax()) for frame in frames]
        assert {0, 1, 2} == set(colors)
        assert [frame.sequence for frame in frames] == sorted({f.sequence for f in frames})
    assert (camera.connections == 1) is kept
    assert b"Connection: close" not in camera.requests[0]


def test_pictures_are_requested_at_the_configured_rate(web: Web) -> None:
    """`camera.fps` requests a second, by the times between frames."""

    def answer(connection: socket.socket, request: bytes, number: int) -> bool:
        connection.sendall(single(color("red")))
        return True

    with opened(web(answer).url, fps=20.0) as camera:
        times = [frame_of(camera).captured_ns for _ in range(8)]
    assert (times[-1] - times[0]) / 1e9 >= 0.9 * 7 / 20


@pytest.mark.parametrize("ending", [b"", b"X"])
def test_a_body_without_a_length_ends_with_the_connection(web: Web, ending: bytes) -> None:
    """HTTP/1.0, or chunks."""
    picture = color("red")

    def answer(connection: socket.socket, request: bytes, number: int) -> bool:
        if ending:
            head = (
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            connection.sendall(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(picture), picture))
            return True
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + picture)
        return False

    with opened(web(answer).url, fps=50.0) as camera:
        for _ in range(4):
            assert frame_of(camera).pixels[0, 0].argmax() == 2


def test_a_picture_that_has_not_changed_is_a_new_frame(web: Web) -> None:
    """The request names the last one; an answer 304 is not silence."""

    def answer(connection: socket.socket, request: bytes, number: int) -> bool:
        known = b'If-None-Match: "1"' in request and b"If-Modified-Since: Mon" in request
        fields = (b'ETag: "1"', b"Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT")
        connection.sendall(NOT_MODIFIED if known else single(color("red"), *fields))
        return True

    camera = web(answer)
    with opened(camera.url, fps=50.0, stall_timeout_s=1.0) as opened_camera:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            frame = frame_of(opened_camera)
            assert frame.pixels[0, 0].argmax() == 2
    assert b"If-None-Match" not in camera.requests[0]
    assert all(b"If-None-Match" in request for request in camera.requests[1:])
    assert camera.connections == 1


BAD: dict[str, Callable[[socket.socket], None]] = {
    "busy": lambda connection: connection.sendall(BUSY),
    "closed at once": lambda connection: None,
    "closed within the picture": lambda connection: connection.sendall(single(color("red"))[:900]),
    "no picture": lambda connection: connection.sendall(single(b"<html>")),
    "cut short": lambda connection: connection.sendall(
        single(color("red")[: len(color("red")) * 2 // 3])
    ),
    "too large": lambda connection: connection.sendall(single(color("red") + bytes(20_000))),
    "not found": lambda connection: connection.sendall(b"HTTP/1.1 404 None\r\n\r\n"),
    "no HTTP": lambda connection: connection.sendall(b"oops\r\n\r\n"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_bad_answer_is_no_outage(web: Web, name: str) -> None:
    """Every third is bad; the camera goes on, and numbers have no gaps for it."""

    def answer(connection: socket.socket, request: bytes, number: int) -> bool:
        if number % 3 == 1:
            BAD[name](connection)
            return False
        connection.sendall(single(color("blue")))
        return True

    camera = web(answer)
    with opened(camera.url, fps=50.0, max_bytes=15_000) as opened_camera:
        while len(camera.requests) < 10:
            assert frame_of(opened_camera).pixels[0, 0].argmax() == 0


def test_a_server_that_is_busy_for_long_has_gone(web: Web) -> None:
    """After the time that a camera may be silent, with its last answer."""
    busy = threading.Event()

    def answer(connection: socket.socket, request: bytes, number: int) -> bool:
        connection.sendall(BUSY if busy.is_set() else single(color("red")))
        return True

    with opened(web(answer).url, fps=20.0, stall_timeout_s=1.0) as camera:
        frame_of(camera)
        busy.set()
        _, error = to_the_end(camera)
    assert (error.reason, error.got) == ("failed", "status 503")


def test_nothing_but_rubbish_is_given_up(web: Web) -> None:
    """After thirty in a row; the error names the limit if that is the reason."""

    def answer(connection: socket.socket, request: bytes, number: int) -> bool:
        connection.sendall(single(color("red") + bytes(20_000)))
        return False

    error = refused(web(answer).url, fps=100.0, max_bytes=15_000)
    assert error.reason == "corrupt"
    assert "expected at most 15000 (camera.max_bytes)" in error.got
    error = refused(web(lambda connection, *_: connection.sendall(BUSY)).url)
    assert (error.reason, error.got) == ("failed", "status 503")


def test_the_daemon_reports_no_outage(
    broker: PrivateBroker,
    listen: Callable[[], Listener],
    daemon: Callable[..., Daemon],
    web: Web,
    rgb: Path,
) -> None:
    """A poll a second, every other one busy, each on a connection of its own: labels, no event."""
    names = itertools.cycle(("red", "blue"))

    def answer(connection: socket.socket, request: bytes, number: int) -> None:
        connection.sendall(BUSY if number % 2 else single(color(next(names)), b"Connection: close"))

    camera, listener = web(answer), listen()
    running = daemon(
        *("--source", camera.url, "--model", rgb, "--broker", broker.address),
        config="[camera]\nfps = 4.0\nstall_timeout_s = 5.0\n"
        "[smoothing]\nwindow = 1\nhold_frames = 1\n[publish]\ntelemetry_interval_s = 0.5\n",
    )
    listener.wait_for(lambda: len(listener.payloads("event")) >= 6)
    assert running.stop() == 0
    kinds = {event["type"] for event in listener.payloads("event")}
    assert kinds == {"label_changed"}
    states: list[Any] = [json.loads(body)["camera"]["state"] for body in listener.bodies("info")]
    assert set(states) == {"online"}
    # The stop may come between a connection and its request.
    assert camera.connections - len(camera.requests) in (0, 1)


def test_close_ends_a_pause_at_once(web: Web) -> None:
    """Between two requests a minute apart."""

    def answer(connection: socket.socket, request: bytes, number: int) -> bool:
        connection.sendall(single(color("red")))
        return True

    with opened(web(answer).url, fps=1 / 60) as camera:
        frame_of(camera)
        assert camera.mode.fps == pytest.approx(1 / 60)
        assert WAIT_S < 60
    assert not any(t.name == "grabber" for t in threading.enumerate())
