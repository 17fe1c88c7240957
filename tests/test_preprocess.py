"""A frame becomes the input tensor, for every format, resize and type of tensor."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.camera.planes import unpad
from edge.errors import ModelError
from edge.frames import Frame, PixelFormat, Rotation, View
from edge.model.card import Color, Preprocessing, Resize, TensorSpec
from edge.model.lookup import lookup_table
from edge.model.preprocess import Preprocessor
from tests.conftest import ROOT
from tests.test_geometry import layouts

UINT8 = TensorSpec((1, 32, 32, 3), np.dtype(np.uint8), 1 / 127.5, 127)
GRAY = TensorSpec((1, 32, 32, 1), np.dtype(np.uint8), 1 / 127.5, 127)
FORMATS: tuple[PixelFormat, ...] = ("bgr", "rgb", "gray", "yuyv", "i420", "nv12")
CAT = ROOT / "deploy" / "demo" / "pictures" / "cat_skimage_chelsea.jpg"
RED_RGB = (200, 30, 40)


def solid(layout: PixelFormat, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Return a red picture in one layout."""
    rgb = np.full((height, width, 3), RED_RGB, np.uint8)
    if layout == "rgb":
        return rgb
    if layout == "gray":
        return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    if layout == "bgr":
        return np.ascontiguousarray(rgb[:, :, ::-1])
    i420 = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), np.uint8)
    luma, rest = i420[:height], i420[height:].reshape(2, -1)
    if layout == "i420":
        return i420
    if layout == "nv12":
        return np.vstack([luma, rest.T.reshape(height // 2, width)])
    yuyv = np.empty((height, width, 2), np.uint8)
    yuyv[:, :, 0] = luma
    yuyv[:, 0::2, 1], yuyv[:, 1::2, 1] = rest[0, 0], rest[1, 0]
    return yuyv


def run(how: Preprocessing, tensor: TensorSpec, frame: Frame) -> NDArray[np.generic]:
    """Return what the tensor holds after one frame."""
    out: NDArray[np.generic] = np.zeros(tensor.shape, tensor.dtype)
    Preprocessor(how, tensor)(frame, out)
    return out


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
def test_red_stays_red(layout: PixelFormat, resize: Resize) -> None:
    """The colour path of every format, in both orders; YUV may be off by rounding."""
    frame = Frame(0, 0, solid(layout), layout)
    for color in ("rgb", "bgr"):
        out = run(Preprocessing(color=color, resize=resize), UINT8, frame)
        middle = out[0, 16, 16].astype(int)
        expected = [82] * 3 if layout == "gray" else RED_RGB[:: 1 if color == "rgb" else -1]
        assert np.abs(middle - expected).max() <= (4 if layout in ("yuyv", "i420", "nv12") else 1)
    gray = run(Preprocessing(color="gray", resize=resize), GRAY, frame)
    assert abs(int(gray[0, 16, 16].astype(int)[0]) - 82) <= 5


def test_letterbox_keeps_aspect_and_pads() -> None:
    """A 2:1 picture fills the middle half; above and below is the padding."""
    frame = Frame(0, 0, np.full((32, 64, 3), 200, np.uint8), "bgr")
    out = run(Preprocessing(resize="letterbox", pad=7), UINT8, frame)[0, :, :, 0]
    assert out[:, 16].tolist() == [7] * 8 + [200] * 16 + [7] * 8
    signed = TensorSpec((1, 32, 32, 3), np.dtype(np.int8), 1 / 127.5, -1)
    through_table = run(Preprocessing(resize="letterbox", pad=7), signed, frame)[0, :, :, 0]
    assert np.array_equal(through_table.astype(int) + 128, out.astype(int))


def test_crop_takes_the_middle() -> None:
    """Of a picture twice as wide as high, the quarters left and right are not used."""
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[:, 32:96] = 99
    out = run(Preprocessing(resize="crop"), UINT8, Frame(0, 0, pixels, "bgr"))
    assert np.unique(out).tolist() == [99]


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
def test_only_the_central_fraction_is_used(layout: PixelFormat, resize: Resize) -> None:
    """Half of each side of a grey picture with a white rim: no white arrives, in any layout."""
    height, width = (32, 64) if resize == "letterbox" else (64, 64)
    rgb = np.full((height, width, 3), 255, np.uint8)
    rgb[height // 4 : -height // 4, width // 4 : -width // 4] = 90
    pixels = rgb
    if layout in ("i420", "nv12"):
        pixels = np.full((height * 3 // 2, width), 128, np.uint8)
        pixels[:height] = rgb[:, :, 0]
    elif layout == "yuyv":
        pixels = np.full((height, width, 2), 128, np.uint8)
        pixels[:, :, 0] = rgb[:, :, 0]
    elif layout == "gray":
        pixels = rgb[:, :, 0]
    how = Preprocessing(resize=resize, central_fraction=0.5, pad=114)
    out = run(how, UINT8, Frame(0, 0, np.ascontiguousarray(pixels), layout))
    assert np.abs(out[0, 16].astype(int) - 90).max() <= 18  # YUV 90 is 86 of full range
    assert set(np.unique(out)) <= {114, *range(72, 92)}


@given(
    st.sampled_from([np.uint8, np.int8, np.float32]),
    st.floats(-50, 300),
    st.floats(0.5, 300),
    st.floats(1e-4, 1.0),
    st.integers(-128, 127),
)
def test_the_table_is_the_quantisation(
    kind: type[np.uint8] | type[np.int8] | type[np.float32],
    mean: float,
    std: float,
    scale: float,
    zero_point: int,
) -> None:
    """Every pixel value lands within one step of (pixel - mean) / std, clipped to the type."""
    zero_point += 128 if kind is np.uint8 else 0
    tensor = TensorSpec((1, 8, 8, 3), np.dtype(kind), scale, zero_point)
    table = lookup_table(Preprocessing(mean=mean, std=std), tensor)
    pixels = np.arange(256, dtype=np.float64)
    real = (pixels - mean) / std
    if issubclass(kind, np.floating):
        assert table is not None
        np.testing.assert_allclose(table.reshape(-1), real, rtol=1e-5, atol=1e-5)
        return
    bounds = np.iinfo(kind)
    exact = np.clip(real / scale + zero_point, bounds.min, bounds.max)
    got = pixels if table is None else table.reshape(-1).view(kind).astype(np.float64)
    assert np.abs(got - exact).max() <= 0.502


def test_camera_bytes_go_into_the_usual_models_unchanged() -> None:
    """uint8 with scale 1/127.5 needs no table; int8 is the pixel less 128."""
    how = Preprocessing()
    for zero_point in (127, 128):
        spec = TensorSpec((1, 8, 8, 3), np.dtype(np.uint8), 1 / 127.5, zero_point)
        assert lookup_table(how, spec) is None
    table = lookup_table(how, TensorSpec((1, 8, 8, 3), np.dtype(np.int8), 1 / 127.5, -1))
    assert table is not None
    assert table.view(np.int8).reshape(-1).tolist() == list(range(-128, 128))


def test_mean_and_std_by_channel() -> None:
    """ImageNet's statistics, as torchvision's models need them."""
    how = Preprocessing(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
    spec = TensorSpec((1, 8, 8, 3), np.dtype(np.float32), 0.0, 0)
    out = run(how, spec, Frame(0, 0, np.full((8, 8, 3), 100, np.uint8), "rgb"))
    expected = [(100 - m) / s for m, s in zip(how.mean, how.std, strict=True)]  # type: ignore[arg-type]
    np.testing.assert_allclose(out[0, 0, 0].astype(float), expected, rtol=1e-5)
    with pytest.raises(ModelError, match=r"`mean` in .*one number, or 3"):
        Preprocessor(Preprocessing(mean=(1.0, 2.0)), spec)


def test_unsupported_tensors_are_refused() -> None:
    """Shape and type are checked when the model is loaded, not at the first frame."""
    with pytest.raises(ModelError, match="expected uint8, int8, int16"):
        Preprocessor(Preprocessing(), TensorSpec((1, 8, 8, 3), np.dtype(np.int32), 0.1, 0))
    with pytest.raises(ModelError, match="got int16 with scale 0"):
        Preprocessor(Preprocessing(), TensorSpec((1, 8, 8, 3), np.dtype(np.int16), 0.0, 0))
    with pytest.raises(ModelError, match=r"\(1, height, width, 3\), got \(1, 3, 8, 8\)"):
        Preprocessor(Preprocessing(), TensorSpec((1, 3, 8, 8), np.dtype(np.uint8), 0.1, 0))


@given(st.sampled_from([(8, 4), (640, 480), (62, 46)]), st.integers(0, 40))
def test_unpad_takes_rows_out_of_their_padding(size: tuple[int, int], padding: int) -> None:
    """libcamera's rows are a stride apart; the copy has no padding."""
    (width, height), stride = size, size[0] + 2 * padding
    picture = np.random.default_rng(0).integers(1, 255, (height * 3 // 2, width), np.uint8)
    luma = np.zeros((height, stride), np.uint8)
    luma[:, :width] = picture[:height]
    chroma = np.zeros((height, stride // 2), np.uint8)
    chroma[:, : width // 2] = picture[height:].reshape(height, width // 2)
    out = np.zeros_like(picture)
    unpad(np.concatenate([luma.reshape(-1), chroma.reshape(-1)]), stride, out)
    assert np.array_equal(out, picture)


def test_both_colors_are_valid_names() -> None:
    """The Literal and the conversions agree."""
    colors: tuple[Color, ...] = ("rgb", "bgr", "gray")
    for color in colors:
        spec = GRAY if color == "gray" else UINT8
        for layout in FORMATS:
            run(Preprocessing(color=color), spec, Frame(0, 0, solid(layout), layout))


@pytest.mark.parametrize("layout", ["yuyv", "i420", "nv12"])
@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("view", [View(), View(90, roi=(0.1, 0.2, 0.7, 0.8))])
def test_shrinking_before_converting_changes_nearly_nothing(
    layout: PixelFormat, resize: Resize, view: View
) -> None:
    """A photograph, from planes and pairs, compared with the same from whole pixels.

    It is blurred: what is shrunk by so much without a filter changes with every half pixel.
    """
    read = np.asarray(cv2.imread(str(CAT)), np.uint8)
    rgb = np.asarray(cv2.GaussianBlur(cv2.resize(read, (1280, 720)), (0, 0), 6), np.uint8)
    how = Preprocessing(resize=resize, central_fraction=0.875)
    spec = TensorSpec((1, 96, 64, 3), np.dtype(np.uint8), 1 / 127.5, 127)
    run, made, expected = Preprocessor(how, spec), *np.zeros((2, *spec.shape), np.uint8)
    run(Frame(0, 0, layouts(rgb)[layout], layout, view), made)
    assert resize == "letterbox" or not run._unpacked.size, "the whole picture was converted"
    run(Frame(0, 0, np.ascontiguousarray(rgb), "rgb", view), expected)
    off = np.abs(made.astype(int) - expected)
    assert off.mean() < 2.5
    assert np.percentile(off, 99) < 12


def test_a_picture_that_cannot_be_shrunk_first_is_converted_first() -> None:
    """A picture smaller than the model's, and a model of odd sides."""
    for shape, size in (((1, 64, 64, 3), (48, 64)), ((1, 31, 31, 3), (48, 64))):
        spec = TensorSpec(shape, np.dtype(np.uint8), 1 / 127.5, 127)
        for layout in ("yuyv", "i420", "nv12"):
            run, out = Preprocessor(Preprocessing(), spec), np.zeros(shape, np.uint8)
            run(Frame(0, 0, solid(layout, *size), layout), out)
            assert run._unpacked.size
            assert np.abs(out[0].astype(int) - RED_RGB).max() <= 4


def waves(width: int, height: int) -> NDArray[np.uint8]:
    """Return a smooth picture, the same in every size and shape, as I420."""
    across = (np.arange(width) + 0.5) / width * np.pi
    down = (np.arange(height) + 0.5)[:, None] / height * np.pi
    bgr = np.stack([np.sin(across + down), np.cos(2 * across) + 0 * down, np.cos(down - across)], 2)
    pixels = (128 + 90 * bgr).astype(np.uint8)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2YUV_I420), np.uint8)


@pytest.mark.parametrize("rotation", [0, 90])
def test_any_shape_of_a_stretched_picture_is_the_same_to_the_model(rotation: Rotation) -> None:
    """A camera may stretch it; then it is only cropped and converted, not interpolated."""
    how = Preprocessing(resize="stretch", central_fraction=0.875)
    tensor = TensorSpec((1, 224, 224, 3), np.dtype(np.uint8), 1 / 127.5, 127)
    view = View(rotation)
    preprocessor = Preprocessor(how, tensor)
    assert preprocessor.any_shape
    assert preprocessor.useful(view) == (256, 256)
    whole = run(how, tensor, Frame(0, 0, waves(640, 480), "i420", view)).astype(int)
    square = waves(256, 256)
    came = run(how, tensor, Frame(0, 0, square, "i420", view))
    apart = np.abs(came.astype(int) - whole)
    assert apart.max() <= 6  # a step of colour is two of blue, in either picture
    assert apart.mean() < 0.8
    middle = np.asarray(cv2.cvtColor(square, cv2.COLOR_YUV2RGB_I420))[16:-16, 16:-16]
    assert np.array_equal(came[0], np.rot90(middle, -rotation // 90))


@pytest.mark.parametrize("resize", ["crop", "letterbox"])
def test_other_pictures_keep_their_shape(resize: Resize) -> None:
    """A resize that keeps the aspect needs the camera to keep it too."""
    assert not Preprocessor(Preprocessing(resize=resize), UINT8).any_shape
