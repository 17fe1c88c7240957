"""RTSP from a real server: pictures, freshness, logins, and a server that goes and comes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import ROOT, WAIT_S
from tests.specs import UNFENCED
from tests.streams import (
    CLIP,
    ESCAPED,
    PASSWORD,
    SIZE,
    RtspServer,
    frame_of,
    opened,
    refused,
    to_the_end,
)


@pytest.fixture(scope="module")
def rtsp() -> Iterator[RtspServer]:
    """A server shared by the tests that do it no harm."""
    server = RtspServer()
    yield server
    server.close()


def clock_of(pixels: NDArray[np.uint8]) -> int:
    """Read the clock that the server drew: 7 rows of 8 blocks, the first bit the highest."""
    side_x, side_y = pixels.shape[1] // 8, pixels.shape[0] // 7
    number = 0
    for row in range(7):
        for column in range(8):
            block = pixels[row * side_y + side_y // 2, column * side_x + side_x // 2]
            number = 2 * number + int(block.mean() > 128)
    return number


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_rtsp_shows_the_clip(rtsp: RtspServer, transport: str) -> None:
    """Each frame is one of the file's, in order, its size and frame rate known."""
    capture = cv2.VideoCapture(str(CLIP), cv2.CAP_FFMPEG)
    film = [np.asarray(capture.read()[1], np.int16)[::8, ::8] for _ in range(120)]
    capture.release()
    with opened(rtsp.url("clip"), transport=transport) as camera:
        assert (camera.mode.driver, camera.mode.width, camera.mode.height) == ("stream", 640, 480)
        pictures = [frame_of(camera).pixels[::8, ::8].copy() for _ in range(8)]
    places = []
    for pixels in pictures:
        apart = [float(np.abs(pixels - still).mean()) for still in film]
        assert min(apart) < 1.0
        places.append(apart.index(min(apart)))
    assert places == sorted(places)


def test_rtsp_has_the_right_colors(rtsp: RtspServer) -> None:
    """Pure red, green and blue in this order, at a width that is no multiple of 64."""
    pure = {"red": (0, 0, 255), "green": (0, 255, 0), "blue": (255, 0, 0)}
    names: list[str] = []
    with opened(rtsp.url("colors")) as camera:
        assert (camera.mode.width, camera.mode.height) == SIZE
        while len(names) < 5:
            pixels = frame_of(camera).pixels.astype(np.int16)
            off = {name: int(np.abs(pixels - color).max()) for name, color in pure.items()}
            name = min(off, key=off.__getitem__)
            assert off[name] <= 12
            if name not in names[-1:]:
                names.append(name)
    turns = ["red", "green", "blue"] * 3
    assert names == turns[turns.index(names[0]) :][:5]


def test_motion_jpeg_is_kept_undecoded(rtsp: RtspServer) -> None:
    """Decoded no larger than useful, in full size for a still, within the limits."""
    useful = (SIZE[0] // 2, SIZE[1] // 2)
    with opened(rtsp.url("jpeg"), useful=useful) as camera:
        mode = camera.mode
        assert (mode.driver, mode.format, mode.still) == ("stream", "mjpeg", SIZE)
        frames = [frame_of(camera) for _ in range(3)]
        assert {frame.pixels.shape for frame in frames} == {(useful[1], useful[0], 3)}
        assert frames[0].pixels.mean(axis=(0, 1)).argmax() == 2
        still = camera.still()
        assert still is not None
        assert still.pixels.shape[1::-1] == SIZE
        assert camera.corrupt_total == 0
    assert "camera.max_pixels" in str(refused(rtsp.url("jpeg"), max_pixels=10_000))


def test_a_slow_reader_gets_the_newest_frame(rtsp: RtspServer) -> None:
    """The server's clock is in the pixels: frames do not age in a queue, gaps are what it sent."""
    frames, ages_s = [], []
    buffers = set()
    with opened(rtsp.url("clock"), first_sequence=1000) as camera:
        for _ in range(10):
            frame = frame_of(camera)
            stamp_ns = clock_of(frame.pixels)
            assert stamp_ns < frame.captured_ns <= time.monotonic_ns()
            frames.append((frame.sequence, stamp_ns))
            ages_s.append((time.monotonic_ns() - stamp_ns) / 1e9)
            buffers.add(frame.pixels.__array_interface__["data"][0])
            held = frame.pixels.copy()
            time.sleep(0.3)  # the slow reader itself
            assert np.array_equal(held, frame.pixels)
    sequences, stamps = np.array(frames).T
    assert sequences[0] >= 1000
    assert np.diff(sequences).min() > 1
    assert max(ages_s[1:]) < 1.0  # a queue would have made it three seconds
    sent = np.diff(stamps[1:]).sum() / (1e9 / 20)
    assert np.diff(sequences[1:]).sum() == pytest.approx(sent, rel=0.25)
    assert len(buffers) <= 2


@pytest.mark.parametrize("arguments", [(), ("--digest",)])
def test_a_login_is_accepted_or_refused(
    serve: Callable[..., RtspServer], arguments: tuple[str, ...]
) -> None:
    """The credentials are in the address, escaped."""
    server = serve("--login", f"user:{PASSWORD}", *arguments)
    with opened(server.url("clock", f"user:{ESCAPED}")) as camera:
        assert frame_of(camera).pixels.shape == (SIZE[1], SIZE[0], 3)
    for login in ("user:wrong", "nobody:" + ESCAPED, ""):
        error = refused(server.url("clock", login))
        assert (error.reason, error.what) == ("denied", "login refused")
    error = refused(server.url("none", f"user:{ESCAPED}"))
    assert (error.reason, error.what) == ("absent", "no such stream")


def test_credentials_are_never_shown(serve: Callable[..., RtspServer], tmp_path: Path) -> None:
    """Neither in our output nor in FFmpeg's or OpenCV's, whatever goes wrong."""
    server = serve("--login", f"user:{PASSWORD}")
    places = [
        server.url("clock", "user:s3cret-wrong"),
        server.url("none", f"user:{ESCAPED}"),
        server.url("clock", f"user:{ESCAPED}"),
        f"rtsp://user:{ESCAPED}@127.0.0.1:1/none?key=s3cret",
        f"http://user:{ESCAPED}@127.0.0.1:1/none?key=s3cret",
        f"http://user:{ESCAPED}@nowhere.invalid/none?key=s3cret",
        f"http://user:{ESCAPED}@127.0.0.1:{server.port}/none?key=s3cret",
        f"rtsp://user:{ESCAPED}@127.0.0.1:port/none?key=s3cret",
    ]
    code = UNFENCED + (
        "import logging, sys, traceback\n"
        "from edge.camera.stream import open_live\n"
        "from tests.specs import camera_spec\n"
        "logging.basicConfig(level=logging.DEBUG)\n"
        "for url in sys.argv[1:]:\n"
        "    try:\n"
        "        camera = open_live(camera_spec(url, stall_timeout_s=5.0))\n"
        "    except OSError:\n"
        "        traceback.print_exc()\n"
        "    else:\n"
        "        print('OPENED', camera.mode, camera.read(5.0).sequence)\n"
        "        camera.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *places],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=True,
        env=os.environ | {"OPENCV_FFMPEG_DEBUG": "1", "OPENCV_LOG_LEVEL": "DEBUG"},
    )
    said = done.stdout + done.stderr
    assert said.count("CameraError: ") == len(places) - 1
    assert said.count("OPENED") == 1
    assert "s3cret" not in done.stderr.replace(code, "")
    assert "s3cret" not in done.stdout


def test_a_missing_host_port_or_path_is_named(rtsp: RtspServer) -> None:
    """Host, port and path each have a line of their own."""
    assert str(refused("rtsp://127.0.0.1:1/a")) == (
        "rtsp://127.0.0.1:1/a: nothing listens on port 1; check the port, and start the server"
    )
    error = refused("rtsp://nowhere.invalid/a")
    assert (error.reason, error.what) == ("absent", "the server's name cannot be resolved")
    error = refused(rtsp.url("none"))
    assert (error.reason, error.what) == ("absent", "no such stream")
    assert refused("rtsp://127.0.0.1:port/a").what == "cannot be opened"
    assert refused("gopher://127.0.0.1/a").what == "cannot be opened"


def test_a_server_that_never_answers_is_given_up() -> None:
    """It accepts the connection, and nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        error = refused(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/a", stall_timeout_s=0.5)
        assert time.monotonic() - begin < WAIT_S
    assert (error.reason, error.what) == ("absent", "no answer in time")


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_server_gone_and_back(serve: Callable[..., RtspServer], transport: str) -> None:
    """Killed, it is noticed within the time-out; started again, a new camera connects."""
    server = serve()
    with opened(server.url("clock"), transport=transport) as camera:
        sequence = frame_of(camera).sequence
        server.close()
        frames, error = to_the_end(camera)
        assert error.reason == "gone"
        assert str(error) == f"{server.url('clock')}: the server has closed the connection"
    assert refused(server.url("clock")).reason == "absent"
    again = serve("--port", server.port)
    count = sequence + len(frames) + 1
    with opened(again.url("clock"), transport=transport, first_sequence=count) as camera:
        assert frame_of(camera).sequence >= count


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_silent_server_is_a_stall(serve: Callable[..., RtspServer], transport: str) -> None:
    """`read` gives None, and at the time-out the connection is given up."""
    server = serve()
    with opened(server.url("clock"), transport=transport, stall_timeout_s=3.0) as camera:
        frame_of(camera)
        server.process.send_signal(signal.SIGSTOP)
        while camera.read(0.5):
            pass
        _, error = to_the_end(camera)
    assert error.reason == "stalled"
    assert "no frame for" in error.what
