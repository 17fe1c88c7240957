"""Settings and pictures of the Pi's camera; the camera itself is in tests/vm."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge import geometry
from edge.camera import isp, planes
from edge.camera.spec import CameraSpec
from edge.errors import CameraError
from edge.frames import PixelFormat, Rotation, View
from tests.specs import camera_spec

BOTH = list(product((False, True), repeat=2))
OFFERED: dict[str, tuple[Any, Any, Any]] = {
    "ExposureTime": (14, 1_000_000, 20_000),
    "AnalogueGain": (1.0, 16.0, 1.0),
    "Brightness": (-1.0, 1.0, 0.0),
    "AwbMode": (0, 7, 0),
    "AwbEnable": (False, True, None),
    "AfMode": (0, 2, 0),
    "LensPosition": (0.0, 32.0, 1.0),
}
"""As a Pi's camera with a lens that moves offers them."""


def upright(view: View, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn, then mirror, then cut: what a View says, word by word."""
    pixels = np.rot90(pixels, -view.rotation // 90)
    pixels = pixels[:, ::-1] if view.flip_horizontal else pixels
    pixels = pixels[::-1] if view.flip_vertical else pixels
    return part(view.roi, pixels)


def part(roi: geometry.Roi, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a share of a picture."""
    height, width = pixels.shape
    left, top = round(roi[0] * width), round(roi[1] * height)
    return pixels[top : top + round(roi[3] * height), left : left + round(roi[2] * width)]


def sized(width: int, height: int, **settings: Any) -> CameraSpec:
    """Return the settings for a camera of this size."""
    return camera_spec("picamera2", width=width, height=height, **settings)


@pytest.mark.parametrize("rotation", get_args(Rotation))
@pytest.mark.parametrize("mirrored", BOTH)
@pytest.mark.parametrize("taken", BOTH)
def test_camera_and_software_together_give_the_configured_view(
    rotation: Rotation, mirrored: tuple[bool, bool], taken: tuple[bool, bool]
) -> None:
    """Whichever of the flips the camera takes, and whether it or software cuts."""
    sensor = np.arange(8 * 12, dtype=np.uint8).reshape(8, 12)
    view = View(rotation, *mirrored, roi=(0.25, 0.5, 0.5, 0.25))
    flips = isp.flips(view)
    done = (flips[0] and taken[0], flips[1] and taken[1])
    left = isp.rest(view, done)
    delivered = upright(View(0, *done), sensor)
    assert np.array_equal(upright(left, delivered), upright(view, sensor))
    cut = part(geometry.before_turning(left), delivered)
    whole = replace(left, roi=geometry.WHOLE)
    assert np.array_equal(upright(whole, cut), upright(view, sensor))


@pytest.mark.parametrize(
    ("size", "useful", "lores"),
    [
        ((640, 480), (224, 224), (320, 240)),
        ((1280, 720), (224, 224), (448, 252)),
        ((1920, 1080), (224, 224), (448, 252)),
        ((1920, 1080), (300, 100), (320, 180)),
        ((640, 480), (640, 100), None),
        ((320, 240), (299, 299), None),
        ((640, 480), None, None),
    ],
)
def test_the_small_stream_has_all_that_the_model_can_use(
    size: tuple[int, int], useful: tuple[int, int] | None, lores: tuple[int, int] | None
) -> None:
    """In the picture's shape, rows without padding; none if it would not be smaller."""
    spec = sized(*size, useful=useful)
    assert isp.plan(spec, cropping=True) == isp.Plan(size, lores, (False, False))


@given(
    width=st.integers(64, 2000),
    height=st.integers(64, 2000),
    useful=st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
)
def test_the_small_stream_is_smaller_and_large_enough(
    width: int, height: int, useful: tuple[int, int]
) -> None:
    """Of any size, even of odd ones."""
    plan = isp.plan(sized(width, height, useful=useful), cropping=False)
    assert plan.main[0] % 2 == plan.main[1] % 2 == 0
    if plan.lores:
        assert useful[0] <= plan.lores[0] < plan.main[0]
        assert useful[1] <= plan.lores[1] < plan.main[1]
        assert plan.lores[0] % isp.ROW == plan.lores[1] % 2 == 0


@pytest.mark.parametrize(
    ("size", "useful", "lores"),
    [
        ((640, 480), (256, 256), (256, 256)),
        ((1280, 720), (224, 224), (224, 224)),
        ((1280, 720), (225, 223), (226, 224)),
        ((640, 240), (256, 240), None),
        ((640, 480), None, None),
    ],
)
def test_a_stretched_picture_comes_stretched(
    size: tuple[int, int], useful: tuple[int, int] | None, lores: tuple[int, int] | None
) -> None:
    """In the model's size; in the picture's shape if the camera cannot crop."""
    spec = sized(*size, useful=useful, any_shape=True)
    assert isp.plan(spec, cropping=True) == isp.Plan(size, lores, (False, False))
    kept = isp.plan(replace(spec, any_shape=False), cropping=False)
    assert isp.plan(spec, cropping=False) == kept


def test_a_stretched_part_comes_stretched() -> None:
    """The useful size of the whole picture is scaled to the part, which is all that comes."""
    half = View(roi=(0.5, 0.0, 0.5, 1.0))
    spec = sized(1280, 720, view=half, useful=(512, 256), any_shape=True)
    assert isp.plan(spec, cropping=True) == isp.Plan((640, 720), (256, 256), (False, False))


def test_the_streams_have_the_shape_of_the_part_that_is_used() -> None:
    """A camera that can cut scales the part up; another gives the whole picture."""
    spec = sized(1280, 720, view=View(roi=(0.5, 0.0, 0.5, 1.0)), useful=(448, 224))
    assert isp.plan(spec, cropping=True) == isp.Plan((640, 720), (256, 288), (False, False))
    assert isp.plan(spec, cropping=False) == isp.Plan((1280, 720), (448, 252), (False, False))
    turned = sized(1280, 720, view=View(90, roi=(0.0, 0.5, 1.0, 0.5)), useful=(448, 224))
    assert isp.plan(turned, cropping=True) == isp.Plan((640, 720), (256, 288), (False, False))


def test_a_part_of_the_sensor() -> None:
    """A wide picture uses the middle of a sensor of 4:3; the part is one of that."""
    largest = (8, 4, 1640, 1232)
    assert isp.crop(largest, (1640, 1232), (0.0, 0.0, 1.0, 1.0)) == largest
    assert isp.crop((0, 0, 1600, 1200), (1280, 720), (0.5, 0.0, 0.5, 1.0)) == (800, 150, 800, 900)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"exposure_us": 2000.4}, {"ExposureTime": 2000}),
        ({"gain": 2, "brightness": -0.5}, {"AnalogueGain": 2.0, "Brightness": -0.5}),
        ({"awb": "daylight"}, {"AwbMode": 5, "AwbEnable": True}),
        ({"awb": "auto"}, {"AwbMode": 0, "AwbEnable": True}),
        ({"awb": "manual"}, {"AwbEnable": False}),
        ({"af": "continuous"}, {"AfMode": 2}),
        ({"af": "auto"}, {"AfMode": 1, "AfTrigger": 0}),
        ({"lens_position": 2.5}, {"LensPosition": 2.5, "AfMode": 0}),
        ({}, {}),
    ],
)
def test_controls_by_libcameras_names(values: dict[str, Any], expected: dict[str, Any]) -> None:
    """By name; a lens that is placed is not focused as well."""
    assert isp.translated(values, OFFERED, "picamera2") == expected


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (
            {"gain": 99},
            "picamera2: control `gain` does not take this value: expected 1 to 16, got 99",
        ),
        (
            {"brightness": "high"},
            "picamera2: control `brightness` does not take this value: expected -1 to 1, got high",
        ),
        (
            {"af": "sometimes"},
            "picamera2: control `af` does not take this value: expected manual or auto or"
            " continuous, got sometimes",
        ),
        (
            {"sharpness": 1},
            "picamera2: this source has no control `sharpness`: expected exposure_us or gain or"
            " brightness or lens_position or awb or af",
        ),
        ({"lens_position": 1, "af": "continuous"}, "picamera2: `lens_position` needs `af` manual"),
    ],
)
def test_a_control_value_out_of_range_is_refused_in_one_line(
    values: dict[str, Any], line: str
) -> None:
    """It names the values that are possible."""
    with pytest.raises(CameraError) as caught:
        isp.translated(values, OFFERED, "picamera2")
    assert str(caught.value) == line


@pytest.mark.parametrize("layout", sorted(set(planes.FORMATS.values())))
@pytest.mark.parametrize("padding", [0, 2, 28])
def test_rows_lose_their_padding(layout: PixelFormat, padding: int) -> None:
    """At a width that is no multiple of 64; the padding never shows."""
    height, width = 6, 36
    out = planes.picture(width, height, layout)
    row = out.size // out.shape[0]
    stride = row + padding
    values = np.random.default_rng(1).integers(0, 200, out.size, np.uint8)
    if layout == "i420":
        luma = values[: height * row].reshape(height, row)
        chroma = values[height * row :].reshape(height, row // 2)
        rows = [(luma, padding), (chroma, padding // 2)]
    else:
        rows = [(values.reshape(out.shape[0], row), padding)]
    padded = np.concatenate(
        [np.pad(plane, ((0, 0), (0, more)), constant_values=255).ravel() for plane, more in rows]
    )
    planes.unpad(padded, stride, out, layout)
    assert np.array_equal(out.ravel(), values)


def test_an_unknown_pixel_format_is_refused() -> None:
    """Such as motion JPEG of a USB camera, which is for V4L2."""
    with pytest.raises(CameraError, match="got MJPEG") as caught:
        planes.stream("main", {"format": "MJPEG", "size": (640, 480), "stride": 0}, "picamera2")
    assert caught.value.reason == "unsupported"


def test_libcameras_rgb_is_bgr_in_memory() -> None:
    """It names the bytes of a word from the highest."""
    got = {"format": "RGB888", "size": (64, 48), "stride": 192}
    assert planes.stream("main", got, "picamera2").format == "bgr"
