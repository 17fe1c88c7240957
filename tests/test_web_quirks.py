"""Real-world web cameras: each has its own idea of motion JPEG, and of HTTP."""

from __future__ import annotations

import hashlib
import itertools
import re
import socket
import threading
from collections.abc import Callable

import numpy as np
import pytest

from edge.camera.login import Login
from tests.conftest import WAIT_S
from tests.streams import frame_of, opened, picture, refused, to_the_end
from tests.web_cameras import MULTIPART, WebCamera, color, part, show, show_once, web

__all__ = ["web"]

Web = Callable[..., WebCamera]
LENGTH = b"Content-Length: %d\r\n"
JPEG = b"Content-Type: image/jpeg\r\n"


def without_tables(picture: bytes) -> bytes:
    """Return a JPEG without its Huffman tables, as AVI's motion JPEG has it."""
    out, at = bytearray(picture[:2]), 2
    while picture[at + 1] != 0xDA:
        size = 2 + int.from_bytes(picture[at + 2 : at + 4], "big")
        if picture[at + 1] != 0xC4:
            out += picture[at : at + size]
        at += size
    return bytes(out + picture[at:])


def with_thumbnail(picture: bytes) -> bytes:
    """Return a JPEG with the end of another in its application data."""
    inside = b"x" * 500 + b"\xff\xd9\xff\xd8" + b"y" * 494
    return picture[:2] + b"\xff\xe1" + (len(inside) + 2).to_bytes(2, "big") + inside + picture[2:]


def lines(content: bytes, header: bytes, end: bytes) -> bytes:
    """Return a part with other ends of its lines, and of itself."""
    return header.replace(b"\r\n", end) + content


RED = color("red")
SIZED = JPEG + LENGTH % len(RED)
PARTS = {
    "image/jpg": part(RED, head=b"Content-Type: image/jpg\r\n" + LENGTH % len(RED)),
    "a type with parameters": part(
        RED, head=b"Content-Type: image/jpeg;size=%d\r\n" % len(RED) + LENGTH % len(RED)
    ),
    "no type": part(RED, head=LENGTH % len(RED)),
    "no header": part(RED, head=b"X: y\r\n"),
    "no length": part(RED, head=JPEG),
    "small letters": part(RED, head=(SIZED.lower().replace(b": ", b":"))),
    "more fields": part(RED, head=SIZED + b"X-Timestamp: 0.000000\r\n"),
    "line feeds": lines(RED + b"\n", b"--cut\r\n" + SIZED + b"\r\n", b"\n"),
    "nothing between": lines(RED, b"--cut\r\n" + SIZED + b"\r\n", b"\r\n"),
    "no empty line": b"--cut\r\n" + SIZED + RED + b"\r\n",
    "no end marker": part(RED[:-2]),
    "no end marker, no length": part(RED[:-2], head=JPEG),
    "zeros behind": part(RED + bytes(8000)),
    "zeros instead of an end marker": part(RED[:-2] + bytes(8000)),
    "an end marker in the application data": part(with_thumbnail(RED)),
    "no Huffman tables": part(without_tables(RED)),
    "a length of 0": part(RED, head=JPEG + LENGTH % 0),
    "a length that is too small": part(RED, head=JPEG + LENGTH % 200),
    "sound between": part(b"hiss", head=b"Content-Type: audio/basic\r\nContent-Length: 4\r\n")
    + part(RED),
    "dashes in the name": part(RED),
    "more dashes": part(RED, boundary=b"----cut"),
    "a name in quotes": part(RED),
    "no dashes": part(RED, boundary=b"cut"),
    "another name": part(RED, boundary=b"--other"),
    "no name": part(RED),
    "a length of the whole": part(RED),
    "the end after each part": part(RED) + b"--cut--\r\n",
}
HEADS = {
    "dashes in the name": MULTIPART % b"--cut",
    "a name in quotes": MULTIPART % b'"cut"',
    "no name": MULTIPART.replace(b"; boundary=%b", b""),
    "a length of the whole": (MULTIPART % b"cut")[:-2] + b"Content-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("quirk", PARTS)
def test_every_kind_of_motion_jpeg_is_read(web: Web, quirk: str) -> None:
    """Whatever its parts look like: red again and again, and no picture is damaged."""

    def answer(connection: socket.socket, request: bytes, number: int) -> None:
        connection.sendall(HEADS.get(quirk, MULTIPART % b"cut"))
        show(connection, PARTS[quirk], lambda: False)

    with opened(web(answer).url) as camera:
        assert (camera.mode.width, camera.mode.height, camera.mode.format) == (320, 240, "mjpeg")
        for _ in range(4):
            assert frame_of(camera).pixels[-1, -1].tolist() == [0, 0, pytest.approx(200, abs=3)]
        assert camera.corrupt_total <= ("too small" in quirk)


def test_a_picture_that_was_cut_short_is_not_used(web: Web) -> None:
    """It has no end marker, and is not whole."""
    cut = color("green")[: len(color("green")) * 2 // 3]

    def answer(connection: socket.socket, request: bytes, number: int) -> None:
        connection.sendall(MULTIPART % b"cut")
        for content in itertools.cycle((cut, RED)):
            show_once(connection, part(content))

    with opened(web(answer).url) as camera:
        while camera.corrupt_total < 3:
            assert frame_of(camera).pixels[0, 0].argmax() == 2


def test_parts_that_are_no_pictures_are_counted_and_logged_once(
    web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    """Between good ones: in one line with their type, whatever that is."""
    other = part(b"<html>", head=b"Content-Type: image/\x1b[31mevil\r\nContent-Length: 6\r\n")

    def answer(connection: socket.socket, request: bytes, number: int) -> None:
        connection.sendall(MULTIPART % b"cut")
        show(connection, other + part(RED), lambda: False)

    with opened(web(answer).url) as camera:
        while camera.corrupt_total < 3:
            frame_of(camera)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "skipped a part of type image/" in said[0]


def test_a_camera_that_closes_is_gone(web: Web) -> None:
    """After its last picture."""
    camera = web(lambda connection, *_: connection.sendall(MULTIPART % b"cut" + part(RED)))
    with opened(camera.url) as camera_:
        frames, error = to_the_end(camera_)
    assert len(frames) == 1
    assert (error.reason, error.what) == ("gone", "the server has closed the connection")


def redirect(to: str) -> bytes:
    """Return an answer that sends elsewhere."""
    return b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % to.encode()


def test_a_login_goes_to_no_other_host(web: Web) -> None:
    """A redirect to another host is followed without it; the first host gets it again."""
    challenge = b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n'

    def elsewhere(connection: socket.socket, request: bytes, number: int) -> None:
        connection.sendall(challenge)

    other = web(elsewhere)

    def home(connection: socket.socket, request: bytes, number: int) -> None:
        place = f"http://localhost:{other.port}/x"
        connection.sendall(redirect(place) if b"Authorization" in request else challenge)

    camera = web(home)
    error = refused(camera.url.replace("//", "//user:s3cret@"))
    assert (error.reason, error.what) == ("denied", "login refused")
    assert [b"Authorization: Basic" in request for request in camera.requests] == [False, True]
    assert other.requests
    assert not any(b"Authorization" in request for request in other.requests)
    assert "s3cret" not in str(error)


@pytest.mark.parametrize("to", ["rtsp://127.0.0.1/x", "http://[", "file:///etc/passwd", "//:x"])
def test_a_redirect_to_nowhere_is_refused(web: Web, to: str) -> None:
    """Only http and https are followed, and only addresses."""
    camera = web(lambda connection, *_: connection.sendall(redirect(to)))
    assert refused(camera.url).what == "cannot be opened"


def test_a_redirect_is_followed_with_the_login(web: Web) -> None:
    """To another path of the same server."""

    def answer(connection: socket.socket, request: bytes, number: int) -> None:
        if request.startswith(b"GET /cam "):
            connection.sendall(redirect("/a%20b c?d=e f#g"))
        elif b"Authorization" not in request:
            realm = b'WWW-Authenticate: Basic realm="a digest"\r\n\r\n'
            connection.sendall(b"HTTP/1.1 401 Unauthorized\r\n" + realm)
        else:
            assert request.startswith(b"GET /a%20b%20c?d=e%20f HTTP/1.1\r\n")
            connection.sendall(MULTIPART % b"cut")
            show(connection, part(RED), lambda: False)

    with opened(web(answer).url.replace("//", "//user:p%40ss@")) as camera:
        assert frame_of(camera).pixels.shape == (240, 320, 3)


@pytest.mark.parametrize(
    ("algorithm", "qop"),
    [
        *itertools.product(("", "MD5", "SHA-256"), ("", 'qop="auth"', 'qop="auth-int, auth"')),
        *itertools.product(("MD5-sess", "SHA-256-sess"), ('qop="auth"', "qop=auth")),
    ],
)
def test_a_digest_login_is_answered(web: Web, algorithm: str, qop: str) -> None:
    """As in the RFC; the password itself is not sent."""
    parameters = ['realm="a, b"', 'nonce="n0nce"', 'opaque="o"', qop]
    if algorithm:
        parameters.append(f"algorithm={algorithm}")
    challenge = "Digest " + ", ".join(filter(None, parameters))
    right = []

    def answer(connection: socket.socket, request: bytes, number: int) -> None:
        login = re.search(r"Authorization: Digest (.*)\r\n", request.decode())
        if login is None or not agrees(login[1]):
            head = f"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {challenge}\r\n\r\n"
            connection.sendall(head.encode())
            return
        right.append(login[1])
        connection.sendall(MULTIPART % b"cut")
        show(connection, part(RED), lambda: False)

    def agrees(login: str) -> bool:
        said = {
            key: quoted or bare
            for key, quoted, bare in re.findall(r'(\w+)=(?:"([^"]*)"|(\w+))', login)
        }

        def hashed(*texts: str) -> str:
            kind = hashlib.sha256 if algorithm.startswith("SHA") else hashlib.md5
            return kind(":".join(texts).encode()).hexdigest()

        secret = hashed("user", "a, b", "p:ss")
        if algorithm.endswith("sess"):
            secret = hashed(secret, "n0nce", said["cnonce"])
        middle = ["n0nce", said["nc"], said["cnonce"], "auth"] if qop else ["n0nce"]
        return bool(said["response"] == hashed(secret, *middle, hashed("GET", "/cam")))

    with opened(web(answer).url.replace("//", "//user:p%3Ass@")) as camera:
        frame_of(camera)
    assert right
    assert "p:ss" not in right[0]


def test_a_challenge_of_any_length_is_parsed_quickly() -> None:
    """One made to be searched for ever is cut."""
    assert not Login("user", "x").challenge(['\\"' * 500_000, "Negotiate", ""])
    assert Login("user", "x").challenge(['Newauth a="basic b", Digest nonce="n"'])


def test_malformed_addresses_are_refused_in_one_line() -> None:
    """As with RTSP."""
    for url in ("http://127.0.0.1:port/a", "http:///a", "http://[::1/a", "http://127.0.0.1:99999/"):
        assert refused(url).what == "cannot be opened"
    assert refused("http://[::1]:1/a").what == "nothing listens on port 1"
    assert refused("http://nowhere.invalid/a").what == "the server's name cannot be resolved"


def test_a_film_over_http_is_left_to_ffmpeg(web: Web) -> None:
    """Whatever its type says."""
    from tests.streams import CLIP

    film = CLIP.read_bytes()

    def answer(connection: socket.socket, request: bytes, number: int) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: %d\r\n\r\n" % len(
            film
        )
        connection.sendall(head + film)

    with opened(web(answer).url) as camera:
        assert frame_of(camera).pixels.shape == (480, 640, 3)
        assert camera.mode.format == "bgr"


def test_a_row_of_pictures_is_left_to_ffmpeg(web: Web) -> None:
    """JPEGs as one body without end, of an unspecific type."""

    def answer(connection: socket.socket, request: bytes, number: int) -> None:
        head = b"HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n"
        connection.sendall(head)
        show(connection, picture(200), lambda: False)

    with opened(web(answer).url) as camera:
        for _ in range(3):
            assert 190 < frame_of(camera).pixels.mean() < 210


def test_close_ends_every_wait_at_once(web: Web) -> None:
    """Also if the server never sends anything again."""
    silent = threading.Event()

    def answer(connection: socket.socket, request: bytes, number: int) -> None:
        connection.sendall(MULTIPART % b"cut" + part(RED))
        silent.wait(WAIT_S)

    with opened(web(answer).url, stall_timeout_s=60.0) as camera:
        frame_of(camera)
    assert not any(t.name == "grabber" for t in threading.enumerate())
    silent.set()


def test_a_picture_larger_than_the_limit_is_decoded_smaller(web: Web) -> None:
    """Up to four times the pixels; `still` gives what the limit allows."""
    noise = np.random.default_rng(0).integers(0, 255, (600, 800, 3)).astype(np.uint8)
    import cv2

    large = cv2.imencode(".jpg", noise)[1].tobytes()

    def answer(connection: socket.socket, request: bytes, number: int) -> None:
        connection.sendall(MULTIPART % b"cut")
        show(connection, part(large), lambda: False)

    with opened(web(answer).url, max_pixels=130_000) as camera:
        assert frame_of(camera).pixels.shape == (300, 400, 3)
        assert camera.mode.still is None
    error = refused(web(answer).url, max_pixels=110_000)
    assert error.reason == "corrupt"
    assert "800x600 pixels" in error.got
