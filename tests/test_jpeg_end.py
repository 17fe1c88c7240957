"""JPEGs without an end marker, padded or cut short: whole ones are decoded, others are corrupt."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.camera import jpeg
from edge.pictures import jpeg_end
from tests.conftest import WAIT_S
from tests.streams import Pictures, frame_of, opened, to_the_end
from tests.streams import picture as sent_picture

RANDOM = np.random.default_rng(0)
PIXELS = {
    "noise": RANDOM.integers(0, 255, (120, 168, 3), np.uint8),
    "black": np.zeros((64, 80, 3), np.uint8),
    "white": np.full((65, 81, 3), 255, np.uint8),
    "grey": np.full((64, 64), 90, np.uint8),
    "ramp": np.dstack([np.tile(np.arange(200, dtype=np.uint8), (150, 1))] * 3),
}
EVERY: tuple[list[int], ...] = (
    [],
    [cv2.IMWRITE_JPEG_RST_INTERVAL, 1],
    [cv2.IMWRITE_JPEG_QUALITY, 30],
)
UNSEEN_BYTES = 100
"""A cut so short costs a few blocks and may go unseen."""


def whole(name: str, parameters: list[int]) -> bytes:
    """Return a JPEG of one of the pictures."""
    return cv2.imencode(".jpg", PIXELS[name], parameters)[1].tobytes()


def decoded(content: bytes, reduced: int = 1) -> NDArray[np.uint8] | None:
    """Return what a camera's JPEG is decoded to."""
    return jpeg.decode(np.frombuffer(content, np.uint8), reduced)


@pytest.fixture(params=["as it is", "older"])
def opencv(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test OpenCV as it is, and as a version that does not notice a picture cut short."""
    if request.param == "older":
        monkeypatch.setattr(jpeg_end, "notices_cut", lambda: False)


@pytest.mark.usefixtures("opencv")
@pytest.mark.parametrize("name", PIXELS)
@pytest.mark.parametrize("parameters", EVERY, ids=str)
@pytest.mark.parametrize("reduced", [1, 2, 8])
def test_a_whole_picture_needs_no_end(
    name: str, parameters: list[int], reduced: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its pixels are the same without the marker, with half of it, with zeros after it."""
    content = whole(name, parameters)
    expected = decoded(content, reduced)
    assert expected is not None
    for end in (b"", b"\xff", b"\xff\xd9"):
        for padding in (0, 3, 20_000):
            pixels = decoded(content[:-2] + end + bytes(padding), reduced)
            assert pixels is not None
            assert np.array_equal(pixels, expected)
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("opencv")
@pytest.mark.parametrize("name", PIXELS)
@pytest.mark.parametrize("parameters", EVERY, ids=str)
def test_a_picture_cut_short_is_corrupt(
    name: str, parameters: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    """With zeros in place of the missing part, or without; nothing is printed."""
    content = whole(name, parameters)
    for share in (0, 0.1, 0.3, 0.5, 0.7, 0.9):
        at = int(len(content) * share)
        if len(content) - at > UNSEEN_BYTES:
            assert decoded(content[:at]) is None
            assert decoded(content[:at] + bytes(20_000)) is None
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("opencv")
def test_a_progressive_picture_needs_its_end() -> None:
    """Without it, it looks like one that lacks its last scans."""
    content = whole("noise", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert decoded(content) is not None
    assert decoded(content + bytes(20_000)) is not None
    assert decoded(content[:-2]) is None
    assert not jpeg.is_whole(np.frombuffer(content[:-2], np.uint8))


def test_an_end_marker_in_a_comment_does_not_count() -> None:
    """A thumbnail or a note before the scan may hold one."""
    content = whole("noise", [])
    note = b"\xff\xfe\0\x06\xff\xd9\xff\xd9"
    cut = content[:2] + note + content[2 : len(content) // 2]
    assert decoded(content[:2] + note + content[2:]) is not None
    assert decoded(cut) is None


@pytest.mark.parametrize("end", [b"", bytes(9000), b"\xff\xd9" + bytes(9000)])
def test_a_web_camera_may_leave_out_the_end(end: bytes) -> None:
    """Its frames come; those that are cut short are still corrupt."""
    good = [sent_picture(60 + 20 * index)[:-2] + end for index in range(6)]
    cut = sent_picture(200)[:1200] + end.removeprefix(b"\xff\xd9")
    looks_on = threading.Event()

    def sent() -> Iterator[bytes]:
        yield from good[:3]
        assert looks_on.wait(WAIT_S)
        yield from (good[3], cut, *good[4:])

    server = Pictures(sent(), interval_s=0.3)
    with contextlib.closing(server), opened(server.url) as camera:
        frame_of(camera)
        looks_on.set()
        frames, _ = to_the_end(camera)
        assert camera.corrupt_total == 1
    for frame in frames:
        assert frame.pixels.mean() == pytest.approx(60 + 20 * frame.sequence, abs=2)
    assert frames[-1].sequence == len(good) - 1
