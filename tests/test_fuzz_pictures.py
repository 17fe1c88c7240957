"""Headers of pictures: no bytes raise, and no picture is decoded larger than its header says."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.pictures import headers, picture
from edge.pictures.headers import MAX_SCANS, read_header
from edge.pictures.quiet import quiet
from tests.bombs import BOMBS, LARGE
from tests.fuzz import CORPUS, corpus, fuzz, mutated

SEEDS = corpus("pictures")
NAMES = sorted(path.name for path in (CORPUS / "pictures").iterdir())
MAX_PIXELS = 100_000
OPENCV = tuple(int(number) for number in cv2.__version__.split(".")[:2])
BEGINNINGS = (
    *(b"\xff\xd8", b"\xff\xd8\xff\xc0\0\x11\x08", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"BM", b"P6 "),
    *(b"RIFF\xff\0\0\0WEBP", b"II*\0\x08\0\0\0", b"MM\0+\0\x08\0\0" + bytes(7) + b"\x10", b""),
)


def of(content: bytes) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Return bytes as an array."""
    return np.frombuffer(content, np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_a_header_says_what_the_decoder_finds(name: str) -> None:
    """Kind and size, for every kind in every variant; the decoded shape is the same, or turned."""
    content = of((CORPUS / "pictures" / name).read_bytes())
    header = read_header(content)
    assert header is not None
    kinds = {
        "jpg": "jpeg",
        "mpo": "jpeg",
        "tif": "tiff",
        "png": "png",
        "bmp": "bmp",
        "webp": "webp",
    }
    assert header.kind == kinds.get(name.rpartition(".")[2], "pnm")
    if name == "animated.webp" and OPENCV < (4, 11):
        return  # which could not decode it
    size = (header.height, header.width)
    shape = picture.decode(content, MAX_PIXELS).shape
    turned = name.startswith("turned") and (name != "turned.webp" or OPENCV >= (4, 12))
    assert shape == (*(size[::-1] if turned else size), 3)


@pytest.mark.fuzz
@fuzz(400)
@given(st.sampled_from(BEGINNINGS), st.binary(max_size=200))
def test_no_bytes_raise(begin: bytes, rest: bytes) -> None:
    """Whatever follows the first bytes of a known kind."""
    header = read_header(of(begin + rest))
    assert header is None or (header.width > 0 and header.height > 0 <= header.decoder_bytes)


@pytest.mark.fuzz
@fuzz(600)
@given(mutated(SEEDS))
def test_nothing_is_decoded_larger_than_its_header_says(content: bytes) -> None:
    """OpenCV decodes damaged pictures no larger; without a header, nothing is decoded."""
    pixels = of(content)
    header = read_header(pixels)
    if header is None or header.pixels > MAX_PIXELS or header.decoder_bytes > 10 * MAX_PIXELS:
        with pytest.raises(picture.Unreadable):
            picture.decode(pixels, MAX_PIXELS)
        return
    with quiet(), contextlib.suppress(cv2.error):
        decoded = cv2.imdecode(pixels, cv2.IMREAD_COLOR)
        assert decoded is None or decoded.shape[0] * decoded.shape[1] <= header.pixels


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_by_its_header(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No decoder gets it; the refusal names size, limit and key."""
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(picture.Unreadable, match=r"\d+x\d+ pixels.*expected at most.*max_pixels"):
        picture.decode(of(BOMBS[name]), picture.MAX_PIXELS)


@pytest.mark.parametrize("name", LARGE)
def test_a_picture_within_the_limit_is_decoded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A JPEG of 64 megapixels at half its size."""
    used: list[int] = []
    monkeypatch.setattr(cv2, "imdecode", lambda _, flags: used.append(flags))
    with pytest.raises(picture.Unreadable, match="not a readable picture"):
        picture.decode(of(LARGE[name]), picture.MAX_PIXELS)
    assert used == [cv2.IMREAD_REDUCED_COLOR_2 if name == "half.jpg" else cv2.IMREAD_COLOR]


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xd8" + b"\xff\xfe\0\2" * 1_000_000,
        b"\xff\xd8" + b"\xff" * 4_000_000,
        b"\xff\xd8" + b"\xff\0" * 2_000_000,
        b"\xff\xd8" + bytes(4_000_000),
        b"P5" + b" " * 4_000_000,
        b"P5" + b"#\n" * 2_000_000,
        b"RIFF\0\0\0\0WEBP" + b"none\0\0\0\0" * 500_000,
        b"II*\0\x08\0\0\0" + b"\xff" * 4_000_000,
        b"II+\0\x08\0\0\0\x10\0\0\0" + bytes(4) + b"\xff" * 4_000_000,
    ],
    ids=range(9),
)
def test_the_search_for_a_header_has_an_end(content: bytes, steps: list[int]) -> None:
    """A walk of millions of steps ends after some thousands."""
    assert read_header(of(content)) is None
    assert sum(steps) < 200_000


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Count the lines executed in the module of headers."""
    count: list[int] = []

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename != headers.__file__:
            return None
        if event == "line":
            count.append(1)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    yield count
    sys.settrace(before)


def test_a_jpeg_of_thousands_of_scans_is_refused() -> None:
    """Each is another pass over all of its coefficients: a small file takes minutes."""
    content = (CORPUS / "pictures" / "progressive.jpg").read_bytes()
    at = content.rindex(b"\xff\xda")
    assert read_header(of(content)) is not None
    assert read_header(of(content[:-2] + content[at:-2] * MAX_SCANS + b"\xff\xd9")) is None
