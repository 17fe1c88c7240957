"""A frame as a JPEG: right colours, never too long, the camera's pixels unchanged."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.frames import Frame, PixelFormat
from edge.pipeline.jpeg import encode
from tests.test_preprocess import FORMATS, RED_RGB, solid

NOISE = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)


def decode(jpeg: bytes | None) -> NDArray[np.uint8]:
    """Return the picture, (H, W, 3) RGB."""
    assert jpeg is not None
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture[:, :, ::-1], np.uint8)


@pytest.mark.parametrize("layout", FORMATS)
def test_red_stays_red(layout: PixelFormat) -> None:
    """In every layout that a camera gives; gray as gray."""
    decoded = decode(encode(Frame(0, 0, solid(layout), layout), width=640, max_bytes=50_000))
    expected = (82, 82, 82) if layout == "gray" else RED_RGB
    assert decoded.shape == (48, 64, 3)
    assert np.abs(decoded[24, 32].astype(int) - expected).max() <= 6


@pytest.mark.parametrize("max_bytes", [100_000, 30_000, 5_000, 2_000])
def test_it_is_never_too_long(max_bytes: int) -> None:
    """Noise, which compresses worst; the aspect is kept, most of the room is used."""
    jpeg = encode(Frame(0, 0, NOISE, "bgr"), width=640, max_bytes=max_bytes, caption="cat 0.9")
    assert jpeg is not None
    assert max_bytes / 3 < len(jpeg) <= max_bytes
    height, width = decode(jpeg).shape[:2]
    assert width / height == pytest.approx(4 / 3, rel=0.05)


def test_what_cannot_be_so_short_is_nothing() -> None:
    """No JPEG has 100 bytes."""
    assert encode(Frame(0, 0, NOISE, "bgr"), width=640, max_bytes=100) is None


@pytest.mark.parametrize(("asked", "given"), [(320, 320), (640, 640), (1920, 640)])
def test_width_is_a_limit_and_enlarges_nothing(asked: int, given: int) -> None:
    """Pixels."""
    decoded = decode(encode(Frame(0, 0, NOISE, "bgr"), width=asked, max_bytes=10**6))
    assert decoded.shape[1] == given


def test_the_caption_is_at_the_bottom_left_alone() -> None:
    """The rest of the picture, and the frame, stay as they are."""
    pixels = np.full((480, 640, 3), 128, np.uint8)
    frame = Frame(0, 0, pixels, "bgr")
    plain = decode(encode(frame, width=640, max_bytes=10**6)).astype(int)
    drawn = decode(encode(frame, width=640, max_bytes=10**6, caption="dog 0.93")).astype(int)
    where = np.argwhere(np.abs(plain - drawn).max(axis=2) > 30)
    assert where[:, 0].min() > 430
    assert where[:, 1].max() < 320
    assert drawn[430:, :320].max() > 220
    assert np.all(pixels == 128)


@pytest.mark.parametrize("caption", ["Dächshund 猫 0.9", "x" * 500])
def test_any_caption_can_be_drawn(caption: str) -> None:
    """Letters that the font has not, and more than there is room for."""
    frame = Frame(0, 0, np.full((48, 64, 3), 128, np.uint8), "bgr")
    assert decode(encode(frame, width=64, max_bytes=10_000, caption=caption)).max() > 200
