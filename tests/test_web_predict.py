"""`POST /api/predict`: the numbers of `edge classify`, and uploads that want to do harm."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.web import uploads
from edge.web.answers import Refused
from tests import bombs
from tests.conftest import edge, wait_until
from tests.web_server import Got, Web

Serve = Callable[..., Web]
BOUNDARY = b"x0123456789abcdef"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}


def form(*files: bytes, field: str = "file", boundary: bytes = BOUNDARY) -> bytes:
    """Return the body of a form with files."""
    head = f'Content-Disposition: form-data; name="{field}"; filename="a.jpg"\r\n'
    head += "Content-Type: image/jpeg\r\n\r\n"
    parts = [b"--" + boundary + b"\r\n" + head.encode() + file + b"\r\n" for file in files]
    return b"".join(parts) + b"--" + boundary + b"--\r\n"


def pictures(folder: Path, count: int) -> list[Path]:
    """Return pictures of random blobs, each another one."""
    random = np.random.default_rng(7)
    result = []
    for number in range(count):
        small = random.integers(0, 256, (6, 8, 3), np.uint8)
        file = folder / f"{number}.{('jpg', 'png', 'webp')[number % 3]}"
        cv2.imwrite(str(file), cv2.resize(small, (320, 240), interpolation=cv2.INTER_CUBIC))
        result.append(file)
    return result


def send(server: Web, body: bytes, kind: str = "") -> Got:
    """Return the answer to an upload."""
    return server.send("POST", "/api/predict", body, {"Content-Type": kind} if kind else FORM)


@pytest.fixture
def server(web: Serve) -> Web:
    """A server with the shipped model, and no daemon."""
    return web().ready()


def test_the_numbers_are_those_of_edge_classify(server: Web, tmp_path: Path) -> None:
    """In a form, in order, and as a plain body; whatever the order and the company."""
    files = pictures(tmp_path, 12)
    lines = edge("classify", "--json", *files).stdout.splitlines()
    expected = [
        {key: one[key] for key in ("label", "score", "scores")} for one in map(json.loads, lines)
    ]
    contents = [file.read_bytes() for file in files]
    got = send(server, form(*contents))
    assert got.status == 200
    assert got.json() == {"results": expected}
    assert send(server, form(*contents[::-1])).json() == {"results": expected[::-1]}
    for content, one in zip(contents[:3], expected, strict=False):
        assert send(server, content, "image/jpeg").json() == one
        assert send(server, content, "application/octet-stream").json() == one


def test_text_in_a_picture_is_not_unpacked(server: Web) -> None:
    """A PNG with gigabytes of comments is classified for what it shows."""
    plain = send(server, bombs.encoded(".png"), "image/png")
    before = server.rss_bytes(peak=True)
    got = send(server, bombs.png_text(900), "image/png")
    assert (got.status, got.body) == (200, plain.body)
    assert server.rss_bytes(peak=True) - before < 30_000_000


def test_one_bad_file_does_not_spoil_the_others(server: Web, tmp_path: Path) -> None:
    """Each has its own result, in order: scores, or an error on one line."""
    good = pictures(tmp_path, 1)[0].read_bytes()
    got = send(server, form(good, b"no picture", b"", good, good[:200]))
    assert got.status == 200
    kinds = ["error" if "error" in one else "scores" for one in got.json()["results"]]
    assert kinds == ["scores", "error", "error", "scores", "error"]
    assert all("\n" not in one.get("error", "") for one in got.json()["results"])


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (bombs.jpeg(30_000, 30_000), 413),
        (bombs.png(40_000, 40_000), 413),
        (bombs.webp(16_383, 16_383), 413),
        (bombs.tiff(22_000, 22_000, 100), 413),
        (bombs.jpeg(7_900, 7_900, progressive=True), 413),
        (b"<svg/>", 415),
        (b"GIF89a" + bytes(100), 415),
        (bombs.gif(65_535, 65_535), 415),
        (bombs.packed(100_000_000), 415),
        (gzip.compress(bombs.encoded(".png"), mtime=0), 415),
        (b"%PDF-1.7", 415),
        (bytes(1000), 415),
        (b"", 400),
        (b"\xff\xd8\xff" * 1000, 415),
    ],
)
def test_what_is_no_picture_or_a_bomb_is_refused(content: bytes, status: int, server: Web) -> None:
    """One line, and no memory for what it promises."""
    assert send(server, bombs.encoded(".png"), "image/png").status == 200  # the model is there
    before = server.rss_bytes(peak=True)
    got = send(server, content, "image/png")
    assert got.status == status
    assert got.json().keys() == {"error"}
    assert "\n" not in got.json()["error"]
    assert server.rss_bytes(peak=True) - before < 30_000_000


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("text/html", b"<p>", 415),
        ("application/x-www-form-urlencoded", b"file=x", 415),
        ("multipart/form-data", b"--x--", 400),
        ("multipart/form-data; boundary=", b"--x--", 400),
        ("multipart/form-data; boundary=" + "x" * 71, b"--x--", 400),
        ("multipart/form-data; boundary=x", b"", 400),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 400),
        ("multipart/form-data; boundary=x", b"\r\n" * 100_000, 400),
        ("multipart/form-data; boundary=x", b"--x\r\nA" + b"a" * 100_000, 400),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A: b\r\n" * 10_000, 400),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n", 400),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n\r\n" * 100 + b"--x--", 413),
        ("multipart/form-data; boundary=x", form(b"a", field="other", boundary=b"x"), 400),
        ("multipart/form-data; boundary=x", form(*[b"a"] * 33, boundary=b"x"), 413),
        ("image/png", b"x" * 8_000_001, 413),
        ("multipart/form-data; boundary*=utf-8''x", form(b"a", boundary=b"x"), 400),
    ],
)
def test_a_body_that_is_no_upload_is_refused(
    kind: str, body: bytes, status: int, server: Web
) -> None:
    """Each with its status and one line; nothing is classified."""
    got = send(server, body, kind)
    assert (got.status, got.json().keys()) == (status, {"error"})


def test_a_file_too_large_among_others_is_refused_alone(server: Web, tmp_path: Path) -> None:
    """Its error says the limit."""
    good = pictures(tmp_path, 1)[0].read_bytes()
    results = send(server, form(good, b"\xff" * 8_000_001)).json()["results"]
    assert "label" in results[0]
    assert "8000000 bytes" in results[1]["error"]


def test_fifty_at_once_are_all_answered(server: Web, tmp_path: Path) -> None:
    """Pictures of a usual size: each with its own numbers, none refused."""
    contents = [file.read_bytes() for file in pictures(tmp_path, 50)]
    expected = [send(server, content, "image/jpeg").json() for content in contents]
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda content: send(server, content, "image/jpeg"), contents))
    assert [got.json() for got in answers] == expected


def test_fifty_large_ones_at_once_take_bounded_memory(server: Web) -> None:
    """Of 12 megapixels and 2.6 MB each: decoded one after the other, 429 beyond what is held."""
    random = np.random.default_rng(1)
    noise = cv2.resize(random.integers(0, 256, (150, 200, 3), np.uint8), (4000, 3000))
    content = bombs.encoded(".jpg", np.asarray(noise, np.uint8))
    first = send(server, content, "image/jpeg").json()
    before = server.rss_bytes(peak=True)
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda _: send(server, content, "image/jpeg"), range(50)))
    assert {got.status for got in answers} == {200, 429}
    assert all(got.json() == first for got in answers if got.status == 200)
    assert server.rss_bytes(peak=True) - before < 200_000_000


def test_more_than_can_wait_is_refused_at_once(server: Web, tmp_path: Path) -> None:
    """429 with the time after which to try again; the others are answered in full."""
    body = form(*[pictures(tmp_path, 1)[0].read_bytes()] * 32)
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: send(server, body), range(20)))
    assert {got.status for got in answers} == {200, 429}
    late = next(got for got in answers if got.status == 429)
    assert int(late.headers["retry-after"]) >= 1


def test_a_client_that_leaves_meanwhile_harms_nobody(server: Web, tmp_path: Path) -> None:
    """Half an upload, or none of the answer read."""
    content = pictures(tmp_path, 1)[0].read_bytes()
    head = b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
    head += b"Content-Length: %d\r\n\r\n" % len(content)
    for body in (content[:100], content):
        for _ in range(20):
            server.raw(head, body).close()
    assert send(server, content, "image/jpeg").status == 200
    assert "Traceback" not in server.log.read_text()


def test_the_model_is_the_one_at_work(
    tmp_path: Path, daemon: Callable[..., object], web: Serve, rgb: Path
) -> None:
    """Its labels; a request that changes it changes the next prediction."""
    config = f'[local]\npath = "{tmp_path}/edge.sock"\n[model]\npath = "{rgb}"\n'
    env = {"STATE_DIRECTORY": str(tmp_path)}
    daemon("--source", "synthetic", config=config, **env)
    server = web(config=config).ready().connected()
    red = bombs.encoded(".png", np.full((64, 64, 3), (0, 0, 255), np.uint8))
    assert send(server, red, "image/png").json()["label"] == "red"
    assert server.order("model", action="use", name="catdog").status == 200

    def changed() -> bool:
        return "cat" in send(server, red, "image/png").json().get("scores", {})

    wait_until(changed, every_s=0.2)


def test_a_model_that_cannot_be_used_is_said(tmp_path: Path, web: Serve) -> None:
    """503 with the model's error; the server goes on."""
    config = f'[local]\npath = "{tmp_path}/edge.sock"\n[model]\npath = "{tmp_path}/absent"\n'
    server = web(config=config).ready()
    got = send(server, bombs.encoded(".png"), "image/png")
    assert got.status == 503
    assert "absent" in got.json()["error"]
    assert server.ask("/healthz").status == 200


def taken(body: bytes) -> list[bytes]:
    """Return the files of a form."""
    found = uploads.files(bytearray(body), BOUNDARY)
    return [bytes(file) for file in found if isinstance(file, bytearray)]


NASTY = st.lists(
    st.sampled_from([b"\r", b"\n", b"-", b"x", b"\r\n--x0", BOUNDARY]), min_size=1
).map(b"".join)
"""Almost a boundary."""


@given(
    files=st.lists(st.binary(min_size=1, max_size=300) | NASTY, min_size=1, max_size=5),
    chunk=st.integers(1, 400),
)
def test_files_come_out_as_they_went_in(files: list[bytes], chunk: int) -> None:
    """Whatever is in them, and wherever the parser is given its next piece."""
    files = [file for file in files if b"\r\n--" + BOUNDARY not in b"\r\n" + file + b"\r\n"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploads, "CHUNK", chunk)
        assert not files or taken(form(*files)) == files


@given(st.binary(max_size=500), st.integers(0, 400))
def test_no_form_raises_anything_else(noise: bytes, at: int) -> None:
    """Any bytes, and a form with any bytes in it: files, or a refusal."""
    whole = form(b"picture", b"another")
    for body in (noise, whole[:at] + noise + whole[at:], b"--" + BOUNDARY + b"\r\n" + noise):
        with contextlib.suppress(Refused):
            found = uploads.files(bytearray(body), BOUNDARY)
            assert all(isinstance(file, bytearray | Refused) for file in found)


def test_a_form_that_a_parser_is_slow_at_has_an_end() -> None:
    """Python-multipart 0.0.5 takes a byte at a time of these: a limit on time ends it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploads, "PARSE_S", 0.0)
        with pytest.raises(Refused, match="too long to read"):
            uploads.files(bytearray(form(b"\r\n--x0" * 100_000)), BOUNDARY)


def test_a_socket_that_is_half_closed_gets_its_answer(server: Web, tmp_path: Path) -> None:
    """As of `curl` in a pipe: what was sent is whole, nothing more will come."""
    content = pictures(tmp_path, 1)[0].read_bytes()
    head = b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
    head += b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(content)
    with server.raw(head, content) as connection:
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    assert not answer or answer.split()[1] == b"200"
