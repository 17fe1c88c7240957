"""Turns, flips and parts of pictures against plain numpy, for every view and layout."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge import geometry
from edge.frames import Frame, PixelFormat, Rotation, View
from edge.model.card import Preprocessing, TensorSpec
from edge.model.preprocess import Preprocessor
from edge.pipeline import jpeg as snapshots

ROTATIONS: tuple[Rotation, ...] = (0, 90, 180, 270)
VIEWS = [View(r, h, v) for r in ROTATIONS for h in (False, True) for v in (False, True)]


def plain(picture: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
    """Return ``picture`` turned clockwise, then mirrored, then cut."""
    picture = np.rot90(picture, -view.rotation // 90)
    picture = picture[:, ::-1] if view.flip_horizontal else picture
    picture = picture[::-1] if view.flip_vertical else picture
    left, top, width, height = view.roi
    high, wide = picture.shape[:2]
    rows = slice(round(top * high), round((top + height) * high))
    return picture[rows, round(left * wide) : round((left + width) * wide)]


def picture(height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    """Return a picture in which every pixel is another, red by row and green by column."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.dstack([rows * 6, columns * 4, rows * 0 + 90]).astype(np.uint8)


@pytest.mark.parametrize("view", VIEWS)
def test_every_turn_is_what_numpy_makes_of_it(view: View) -> None:
    """All sixteen, pixel by pixel."""
    raw = picture()
    expected = plain(raw, view)
    out = np.empty(expected.shape, np.uint8)
    geometry.turn(raw, view, out)
    assert np.array_equal(out, expected)


@given(
    st.sampled_from(VIEWS),
    st.tuples(*(st.integers(0, 9) for _ in range(2)), *(st.integers(1, 10) for _ in range(2))),
)
def test_cutting_before_the_turn_is_cutting_after_it(
    view: View, tenths: tuple[int, int, int, int]
) -> None:
    """A part of the upright picture is found in the one that lies."""
    left, top = tenths[0] / 10, tenths[1] / 10
    roi = (left, top, min(tenths[2] / 10, 1 - left), min(tenths[3] / 10, 1 - top))
    view = View(view.rotation, view.flip_horizontal, view.flip_vertical, roi)
    raw = picture()
    expected = plain(raw, view)
    rect = geometry.part(raw.shape[0], raw.shape[1], geometry.before_turning(view))
    part = geometry.cut(raw, rect)
    out = np.empty(expected.shape, np.uint8)
    geometry.turn(part, view, out)
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("view", [*VIEWS, View(90, True, roi=(0.5, 0.0, 0.5, 0.5))])
def test_the_tensor_holds_the_upright_picture(view: View, resize: str) -> None:
    """The same as of a picture that was turned and cut beforehand, but for a pixel's rounding."""
    spec = TensorSpec((1, 16, 24, 3), np.dtype(np.uint8), 1 / 127.5, 127)
    run = Preprocessor(Preprocessing(resize=resize), spec)  # type: ignore[arg-type]
    smooth = np.asarray(cv2.resize(picture(30, 60), (120, 60)), np.uint8)
    made, expected = np.zeros(spec.shape, np.uint8), np.zeros(spec.shape, np.uint8)
    run(Frame(0, 0, smooth, "rgb", view), made)
    run(Frame(0, 0, np.ascontiguousarray(plain(smooth, view)), "rgb"), expected)
    assert np.abs(made.astype(int) - expected).max() <= 12
    assert np.abs(made.astype(int) - expected).mean() <= 2


@pytest.mark.parametrize("layout", ["bgr", "yuyv", "i420", "nv12"])
def test_a_part_of_any_layout_is_that_part(layout: PixelFormat) -> None:
    """Left half red, right half blue: the right half is blue, the turned top half red."""
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:, :32], rgb[:, 32:] = (200, 30, 40), (30, 40, 200)
    spec = TensorSpec((1, 16, 16, 3), np.dtype(np.uint8), 1 / 127.5, 127)
    run, out = Preprocessor(Preprocessing(), spec), np.zeros((1, 16, 16, 3), np.uint8)
    pixels = layouts(rgb)[layout]
    run(Frame(0, 0, pixels, layout, View(roi=(0.6, 0.0, 0.4, 1.0))), out)
    assert out[0].reshape(-1, 3).mean(axis=0) == pytest.approx((30, 40, 200), abs=4)
    run(Frame(0, 0, pixels, layout, View(90, roi=(0.0, 0.0, 1.0, 0.4))), out)
    assert out[0].reshape(-1, 3).mean(axis=0) == pytest.approx((200, 30, 40), abs=4)


def layouts(rgb: NDArray[np.uint8]) -> dict[PixelFormat, NDArray[np.uint8]]:
    """Return a picture in several layouts."""
    height, width = rgb.shape[:2]
    i420 = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), np.uint8)
    luma, chroma = i420[:height], i420[height:].reshape(2, height // 2, width // 2)
    yuyv = np.empty((height, width, 2), np.uint8)
    yuyv[:, :, 0] = luma
    yuyv[:, 0::2, 1], yuyv[:, 1::2, 1] = np.repeat(chroma, 2, axis=1)
    nv12 = np.vstack([luma, chroma.transpose(1, 2, 0).reshape(height // 2, width)])
    return {"bgr": rgb[:, :, ::-1], "yuyv": yuyv, "i420": i420, "nv12": nv12}


def test_a_snapshot_is_upright_and_shows_what_is_classified() -> None:
    """Turned, and cut to the part that the model sees."""
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:, :32], rgb[:, 32:] = (200, 30, 40), (30, 40, 200)
    frame = Frame(0, 0, layouts(rgb)["i420"], "i420", View(90, roi=(0.0, 0.5, 1.0, 0.5)))
    jpeg = snapshots.encode(frame, width=640, max_bytes=100_000)
    assert jpeg
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape == (32, 48, 3)
    assert decoded.reshape(-1, 3).mean(axis=0)[::-1] == pytest.approx((30, 40, 200), abs=6)


def test_pixels_that_are_of_use_are_those_of_the_lying_picture() -> None:
    """Beyond them a camera may shrink: the model's own size, over what is cut off."""
    spec = TensorSpec((1, 224, 160, 3), np.dtype(np.uint8), 1 / 127.5, 127)
    run = Preprocessor(Preprocessing(central_fraction=0.875), spec)
    assert run.useful(View()) == (183, 256)
    assert run.useful(View(rotation=90)) == (256, 183)
    assert run.useful(View(rotation=90, roi=(0.0, 0.0, 0.5, 1.0))) == (256, 366)
