"""Web cameras that send too much: the daemon's memory, labels and watchdog."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from deploy.broker import PrivateBroker
from tests.conftest import WAIT_S, Daemon, Listener
from tests.streams import opened, refused, to_the_end
from tests.web_cameras import (
    MIB,
    MULTIPART,
    WebCamera,
    color,
    flood,
    part,
    resized,
    show,
    single,
    slowly,
    web,
)

__all__ = ["web"]

Start = Callable[..., Daemon]
Listen = Callable[[], Listener]
MAY_GROW_BYTES = 100_000_000
ATTACKS: dict[str, Callable[[], Iterable[bytes]]] = {
    "a picture of 30000x30000": lambda: slowly(part(resized(color("green"), 30_000, 30_000)), 20),
    "a part of 1.5 GB": lambda: [
        b"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: 1500000000\r\n\r\n",
        *flood(300 * MIB),
    ],
    "a part without an end": lambda: [
        b"--cut\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8",
        *flood(300 * MIB),
    ],
    "a header without an end": lambda: [b"--cut\r\n", *flood(64 * MIB, b"X-Y: z\r\n" * 8192)],
    "a header's line without an end": lambda: [b"--cut\r\nX-Y: ", *flood(300 * MIB, b"z" * MIB)],
    "pictures of 30 MB": lambda: [part(color("green") + bytes(30_000_000))] * 10,
    "tiny parts": lambda: flood(64 * MIB, part(color("green")[:20], head=b"\r\n") * 1000),
    "tiny parts of sound": lambda: flood(
        64 * MIB, part(b"x", head=b"Content-Type: audio/basic\r\n") * 1000
    ),
    "nothing": list,
}
POLLED: dict[str, Callable[[], Iterable[bytes]]] = {
    "one picture of 30000x30000": lambda: [single(resized(color("green"), 30_000, 30_000))],
    "one picture of 1.5 GB": lambda: [
        b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 1500000000\r\n\r\n",
        *flood(300 * MIB),
    ],
    "one picture without an end": lambda: [
        b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8",
        *flood(300 * MIB),
    ],
    "one picture of 30 MB": lambda: [single(color("green") + bytes(30_000_000))],
}


def peak_bytes(process: int) -> int:
    """Return the most memory that a process has had."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


class Watchdog:
    """The service manager's end of the watchdog: counts its signs of life."""

    def __init__(self, path: Path) -> None:
        self.beats = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while said := self._socket.recv(4096):
                self.beats += said == b"WATCHDOG=1"


@pytest.mark.parametrize("name", [*ATTACKS, *POLLED])
def test_memory_stays_as_it_is_and_labels_come(
    name: str,
    broker: PrivateBroker,
    listen: Listen,
    daemon: Start,
    web: Callable[..., WebCamera],
    rgb: Path,
    tmp_path: Path,
) -> None:
    """Within 100 MB of the usual; pictures before and behind are classified, the watchdog is fed.

    The camera shows red, attacks in the same connection, and shows blue, in that connection or,
    where the daemon has ended it, in the next.
    """
    go, attacked = threading.Event(), threading.Event()

    def answer_one(connection: socket.socket, request: bytes, number: int) -> bool:
        if attacked.is_set() or not go.is_set():
            connection.sendall(single(color("blue" if attacked.is_set() else "red")))
            return True
        attacked.set()
        for piece in POLLED[name]():
            connection.sendall(piece)
        return False

    def answer(connection: socket.socket, request: bytes, number: int) -> None:
        connection.sendall(MULTIPART % b"cut")
        if not attacked.is_set():
            show(connection, part(color("red")), go.is_set)
            attacked.set()
            for piece in ATTACKS[name]():
                connection.sendall(piece)
            connection.sendall(b"\r\n")
        show(connection, part(color("blue")), lambda: False)

    listener, watchdog = listen(), Watchdog(tmp_path / "notify")
    camera = web(answer_one if name in POLLED else answer)
    running = daemon(
        *("--source", camera.url, "--model", rgb, "--broker", broker.address),
        config="[camera]\nstall_timeout_s = 3.0\n"
        "[publish]\ntelemetry_interval_s = 0.5\n[smoothing]\nwindow = 2\nhold_frames = 1\n",
        NOTIFY_SOCKET=str(tmp_path / "notify"),
        WATCHDOG_USEC="200000",
    )

    def label() -> str:
        return str((listener.payloads("state") or [{}])[-1].get("label"))

    listener.wait_for(lambda: label() == "red")
    usual, beats = peak_bytes(running.process.pid), watchdog.beats
    go.set()
    assert attacked.wait(WAIT_S)
    listener.wait_for(lambda: label() == "blue")
    assert peak_bytes(running.process.pid) - usual < MAY_GROW_BYTES
    listener.wait_for(lambda: watchdog.beats > beats)
    assert running.stop() == 0
    lines = [line for line in running.log.read_text().splitlines() if "skipped" in line]
    assert len(lines) <= 2  # of the picture, and of the connection


def test_a_chunk_that_claims_to_be_endless_is_read_as_it_comes(
    web: Callable[..., WebCamera],
) -> None:
    """Its size is only a number; no memory is reserved for it."""

    def answer(connection: socket.socket, request: bytes, number: int) -> None:
        head = (MULTIPART % b"cut")[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + b"f" * 4000 + b"\r\n")
        show(connection, part(color("red")), lambda: False)

    with opened(web(answer).url) as camera:
        frame = camera.read(WAIT_S)
        assert frame is not None
        assert frame.pixels[0, 0].argmax() == 2


@pytest.mark.parametrize("size", [b"-5", b"zz", b"", b"f" * 70_000])
def test_malformed_chunks_end_the_connection(web: Callable[..., WebCamera], size: bytes) -> None:
    """As if the server had closed it."""

    def answer(connection: socket.socket, request: bytes, number: int) -> None:
        head = (MULTIPART % b"cut")[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + size + b"\r\n")

    assert refused(web(answer).url, stall_timeout_s=2.0).reason in ("gone", "stalled")


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X-Y: z\r\n" * 9_000_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"z" * 70_000_000,
    ],
)
def test_the_head_of_an_answer_has_an_end(web: Callable[..., WebCamera], head: bytes) -> None:
    """It is not waited for, with too many fields or one that is too long."""
    error = refused(web(lambda connection, *_: connection.sendall(head)).url)
    assert error.what == "the head of its answer is too large or malformed"


@pytest.mark.parametrize("status", [b"301 Moved", b"307 Temporary"])
def test_redirects_in_a_ring_have_an_end(web: Callable[..., WebCamera], status: bytes) -> None:
    """After five."""
    camera = web(
        lambda connection, request, number: connection.sendall(
            b"HTTP/1.1 %b\r\nLocation: /%d\r\nContent-Length: 0\r\n\r\n" % (status, number)
        )
    )
    assert refused(camera.url).what == "redirected more than 5 times"
    assert len(camera.requests) == 6


@pytest.mark.parametrize("head", [b"", MULTIPART % b"cut", single(b"\xff\xd8")[:-2], b"HTTP/1.1 "])
def test_a_byte_at_a_time_is_silence(web: Callable[..., WebCamera], head: bytes) -> None:
    """In the head or in a body: each byte is in time, a picture is not."""
    ended = threading.Event()

    def answer(connection: socket.socket, request: bytes, number: int) -> None:
        connection.sendall(head)
        while not ended.is_set():
            connection.sendall(b"\xff")
            time.sleep(0.1)

    try:
        error = refused(web(answer).url, stall_timeout_s=0.8)
    finally:
        ended.set()
    assert error.reason in ("stalled", "absent")


def test_a_stream_that_slows_down_is_given_up(web: Callable[..., WebCamera]) -> None:
    """Read goes on returning nothing in its time, then says how long there was no frame."""
    slow = threading.Event()

    def answer(connection: socket.socket, request: bytes, number: int) -> None:
        connection.sendall(MULTIPART % b"cut")
        show(connection, part(color("red")), slow.is_set)
        while True:
            connection.sendall(b"-")
            time.sleep(0.05)

    with opened(web(answer).url, stall_timeout_s=1.0) as camera:
        assert camera.read(WAIT_S)
        slow.set()
        _, error = to_the_end(camera)
    assert error.reason == "stalled"
    assert re.fullmatch(r"no frame for 1\.\d s", error.what)


def test_a_compressed_stream_is_refused(web: Callable[..., WebCamera]) -> None:
    """It was not requested, and its unpacked size is unknown."""
    head = (MULTIPART % b"cut")[:-2] + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b"
    camera = web(lambda connection, *_: connection.sendall(head))
    error = refused(camera.url)
    assert (error.reason, error.got) == ("unsupported", "gzip")
    assert b"Accept-Encoding: identity" in camera.requests[0]
