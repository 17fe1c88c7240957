"""Streams over HTTP: motion JPEG that is whole or not, small or large, fast or silent."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.camera import jpeg
from edge.camera.newest import BAD_FRAMES, STOP_S
from edge.errors import CameraError
from tests.certificates import Authority
from tests.conftest import WAIT_S
from tests.quirky_rtsp import MEDIA
from tests.streams import (
    ESCAPED,
    SIZE,
    Pictures,
    frame_of,
    opened,
    picture,
    refused,
    to_the_end,
)


@pytest.fixture
def pictures() -> Iterator[Callable[..., str]]:
    """Return a function that starts a web camera and returns its address."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: object, **options: object) -> str:
            camera = Pictures(*arguments, **options)  # type: ignore[arg-type]
            stack.callback(camera.close)
            return camera.url

        yield start


def grabbers() -> int:
    """Return how many grabber threads there are."""
    return sum(thread.name == "grabber" for thread in threading.enumerate())


def wait_until(condition: Callable[[], bool]) -> None:
    """Return once ``condition`` holds; fail after ``WAIT_S``."""
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_an_http_login_is_accepted_or_refused(pictures: Callable[..., str]) -> None:
    """As with RTSP."""
    url = pictures([picture(100)], again=True, login="dXNlcjpzM2NyZXQ6d0ByZA==")
    with opened(url.replace("//", f"//user:{ESCAPED}@")) as camera:
        assert frame_of(camera).pixels.mean() == pytest.approx(100, abs=2)
    error = refused(url.replace("//", "//user:wrong@"))
    assert (error.reason, error.what) == ("denied", "login refused")
    assert refused(url).reason == "denied"


def test_https_is_read_and_refuses_as_http_does(
    pictures: Callable[..., str], tmp_path: Path
) -> None:
    """Whoever signed the server's certificate: it is not checked."""
    pair = Authority(tmp_path, "unknown").sign("camera")
    url = pictures([picture(100)], again=True, pair=pair, login="dXNlcjpzM2NyZXQ6d0ByZA==")
    with opened(url.replace("//", f"//user:{ESCAPED}@")) as camera:
        assert frame_of(camera).pixels.mean() == pytest.approx(100, abs=2)
    assert refused(url).reason == "denied"


def test_https_that_has_no_pictures_is_read_by_ffmpeg(
    pictures: Callable[..., str], tmp_path: Path
) -> None:
    """An MPEG-TS over TLS, for which FFmpeg finds OpenSSL."""
    pair = Authority(tmp_path, "unknown").sign("camera")
    film = (MEDIA / "jit.ts").read_bytes()
    url = pictures([film], content="video/mp2t", pair=pair, again=True, interval_s=0.5)
    with opened(url) as camera:
        assert camera.mode.source.startswith("https")
        assert frame_of(camera).pixels.std() > 0


def test_a_missing_host_port_or_path_is_named(pictures: Callable[..., str]) -> None:
    """By the server's status."""
    assert refused("http://127.0.0.1:1/a").reason == "absent"
    error = refused(pictures([], status=404))
    assert (error.reason, error.what) == ("absent", "no such stream")
    error = refused(pictures([], status=503))
    assert (error.reason, error.got) == ("failed", "status 503")
    error = refused(pictures([b"<html>"], content="text/html"))
    assert (error.reason, error.what) == ("unsupported", "gives no stream that can be decoded")


def test_a_stream_that_has_fallen_silent_can_be_closed(frozen_stream: str) -> None:
    """The grabber's read lasts as long as the time-out; close does not."""
    with opened(frozen_stream, stall_timeout_s=60.0) as camera:
        while camera.read(0.5):
            pass
        begin = time.monotonic()
    assert time.monotonic() - begin < STOP_S + WAIT_S


def test_reopening_leaves_nothing_behind(pictures: Callable[..., str]) -> None:
    """A camera closed in a silence takes its thread and its socket with it."""
    url = pictures([picture(100)] * 3, silent=True)
    before = grabbers(), len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with opened(url, stall_timeout_s=60.0) as camera:
            while camera.read(0.2):
                pass
            assert grabbers() > before[0]
        assert grabbers() == before[0]
    # The web camera's side of each connection is in this process too.
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before[1] + 5)


def test_the_end_comes_after_the_last_frame(pictures: Callable[..., str]) -> None:
    """A slow reader gets the last frame, then the end; no number comes twice."""
    count = 40
    url = pictures([picture(40 + 4 * index) for index in range(count)])
    with opened(url) as camera:
        assert (camera.mode.width, camera.mode.height, camera.mode.format) == (320, 240, "mjpeg")
        frames, error = to_the_end(camera, pause_s=0.05)
        assert camera.corrupt_total == 0
    assert (error.reason, error.what) == ("gone", "the server has closed the connection")
    assert frames[-1].sequence == count - 1
    assert len(frames) < count
    for frame in frames:
        assert frame.pixels.mean() == pytest.approx(40 + 4 * frame.sequence, abs=1)


def test_corrupt_pictures_are_counted_and_skipped(pictures: Callable[..., str]) -> None:
    """Cut short, rubbish between its ends, or empty: the others come, without a gap in number."""
    good = [picture(60 + 20 * index) for index in range(7)]
    cut, rubbish = good[2][: len(good[2]) // 2], jpeg.START + bytes(5000) + jpeg.END
    looks_on = threading.Event()

    def sent() -> Iterator[bytes]:
        yield from good[:3]
        assert looks_on.wait(WAIT_S)
        yield from (cut, *good[3:5], rubbish, b"", *good[5:])

    with opened(pictures(sent(), interval_s=0.3)) as camera:
        first = frame_of(camera)
        looks_on.set()
        frames, _ = to_the_end(camera)
        assert camera.corrupt_total == 3
    assert first.sequence <= 2
    for frame in frames:
        assert frame.pixels.mean() == pytest.approx(60 + 20 * frame.sequence, abs=2)
    assert frames[-1].sequence == len(good) - 1


@pytest.mark.parametrize("bad", [picture(100)[:9000], jpeg.START + bytes(5000) + jpeg.END])
def test_nothing_but_corrupt_pictures_is_given_up(pictures: Callable[..., str], bad: bytes) -> None:
    """After good ones; or without any, when FFmpeg may find no stream in them."""
    enough = threading.Event()

    def sent() -> Iterator[bytes]:
        while not enough.is_set():
            yield picture(100)
        while True:
            yield bad

    with opened(pictures(sent())) as camera:
        frame_of(camera)
        enough.set()
        _, error = to_the_end(camera)
        assert camera.corrupt_total >= BAD_FRAMES
    assert error.reason == "corrupt"
    assert refused(pictures([bad], again=True)).reason in ("corrupt", "unsupported")


def test_another_size_is_logged_and_used(
    pictures: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    """The next frames have it, and so has the mode; one line is logged."""
    enough = threading.Event()

    def sent() -> Iterator[bytes]:
        while not enough.is_set():
            yield picture(60)
        yield from [picture(120, SIZE)] * 5

    url = pictures(sent())
    with opened(url) as camera:
        frames = [frame_of(camera)]
        enough.set()
        frames += to_the_end(camera)[0]
        assert (camera.mode.width, camera.mode.height) == SIZE
    for frame in frames:
        level = 60 if frame.pixels.shape == (240, 320, 3) else 120
        assert frame.pixels.mean() == pytest.approx(level, abs=2)
    shapes = dict.fromkeys(frame.pixels.shape for frame in frames)
    assert list(shapes) == [(240, 320, 3), (SIZE[1], SIZE[0], 3)]
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [f"{url}: the picture is now 328 x 248, was 320 x 240"]


@pytest.mark.parametrize(
    ("useful", "size"),
    [
        (None, (648, 486)),
        ((325, 243), (648, 486)),
        ((324, 243), (324, 243)),
        ((96, 96), (162, 122)),
    ],
)
def test_no_more_is_decoded_than_is_useful(
    pictures: Callable[..., str], useful: tuple[int, int] | None, size: tuple[int, int]
) -> None:
    """Halved or quartered by the decoder; the whole picture is there for a snapshot."""
    url = pictures([picture(90, (648, 486))], again=True)
    with opened(url, useful=useful) as camera:
        assert (camera.mode.width, camera.mode.height) == size
        frame = frame_of(camera)
        assert frame.pixels.shape == (size[1], size[0], 3)
        assert frame.pixels.mean() == pytest.approx(90, abs=2)
        still = camera.still()
        if size == (648, 486):
            assert still is None
            assert camera.mode.still is None
        else:
            assert camera.mode.still == (648, 486)
            assert still is not None
            assert still.pixels.shape == (486, 648, 3)
            assert still.pixels.mean() == pytest.approx(90, abs=2)


def test_memory_does_not_grow_with_a_slow_reader(pictures: Callable[..., str]) -> None:
    """A thousand pictures nobody takes, 50 kB each, leave nothing behind."""

    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    with opened(pictures([picture(90, (648, 486))], again=True, interval_s=0.0)) as camera:
        while frame_of(camera).sequence < 200:
            pass
        before = resident_bytes()
        sequence = 0
        while sequence < 1400:
            sequence = frame_of(camera).sequence
            time.sleep(0.1)  # the slow reader itself
        assert resident_bytes() - before < 16e6


def test_a_stream_has_no_controls(pictures: Callable[..., str]) -> None:
    """Refused in one line."""
    with opened(pictures([picture(90)], again=True)) as camera:
        with pytest.raises(CameraError, match="no control `gain`"):
            camera.control({"gain": 2.0})
        assert grabbers() >= 1
