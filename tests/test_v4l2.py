"""V4L2 without a device: structures, formats, JPEG, controls. The rest is in tests/vm."""

from __future__ import annotations

import mmap
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.camera import v4l2_abi as abi
from edge.camera.v4l2_controls import level
from edge.camera.v4l2_formats import FORMATS, Decoder
from edge.errors import CameraError
from tests.specs import camera_spec

NUMBERS = (
    *("QUERYCAP", "ENUM_FMT", "S_FMT", "REQBUFS", "QUERYBUF", "QBUF", "DQBUF", "STREAMON"),
    *("STREAMOFF", "S_PARM", "S_CTRL", "QUERYCTRL", "G_INPUT", "SUBSCRIBE_EVENT"),
)
OFFSETS = {
    "v4l2_buffer, sequence": abi.Buffer.sequence,
    "v4l2_buffer, m": abi.Buffer.place,
    "v4l2_buffer, timestamp": abi.Buffer.seconds,
    "v4l2_buffer, length": abi.Buffer.length,
    "v4l2_format, fmt": abi.Format.fmt,
    "v4l2_streamparm, parm.capture.timeperframe": abi.StreamParameters.timeperframe,
    "v4l2_queryctrl, default_value": abi.ControlDescription.default,
}


def test_structures_are_laid_out_as_the_compiler_lays_them_out(tmp_path: Path) -> None:
    """Numbers of calls hold the sizes of their arguments; offsets of what is read or written."""
    program = tmp_path / "layout.c"
    lines = [f'printf("%lu\\n", (unsigned long)VIDIOC_{name});' for name in NUMBERS]
    lines += [f'printf("%zu\\n", offsetof(struct {place}));' for place in OFFSETS]
    program.write_text(
        "#include <linux/videodev2.h>\n#include <stddef.h>\n#include <stdio.h>\n"
        "int main(void) {\n" + "\n".join(lines) + "\n}\n"
    )
    subprocess.run(["gcc", program, "-o", tmp_path / "layout"], check=True)
    layout = subprocess.run([tmp_path / "layout"], capture_output=True, text=True, check=True)
    expected = [getattr(abi, name) for name in NUMBERS]
    expected += [field.offset for field in OFFSETS.values()]
    assert [int(line) for line in layout.stdout.split()] == expected


def test_a_formats_letters_are_its_number() -> None:
    """Source: linux/videodev2.h, V4L2_PIX_FMT_YUYV."""
    assert abi.code("YUYV") == 0x56595559
    assert abi.name(0x56595559) == "YUYV"
    assert abi.name(abi.code("Y16 ")) == "Y16"


def decoder(format: str, width: int, height: int, stride: int = 0, **settings: object) -> Decoder:
    """Return a decoder for what a driver is said to have agreed to."""
    pix = abi.PixFormat(width, height, abi.code(format.upper()), bytesperline=stride)
    return Decoder(pix, camera_spec("/dev/video0", **settings))


def filled(content: bytes, spare: int = 64) -> mmap.mmap:
    """Return memory as a driver would map it, longer than what is in it."""
    memory = mmap.mmap(-1, len(content) + spare)
    memory[: len(content)] = content
    return memory


def photograph(width: int, height: int) -> NDArray[np.uint8]:
    """Return a picture that looks a little like one."""
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    return np.dstack([np.tile(ramp, (height, 1)), np.full((height, width), 90, np.uint8),
                      np.tile(ramp[::-1], (height, 1))])  # fmt: skip


def jpeg(width: int, height: int) -> bytes:
    """Return the picture as a camera would send it."""
    return cv2.imencode(".jpg", photograph(width, height))[1].tobytes()


@pytest.mark.parametrize(
    ("useful", "size"),
    [
        (None, (1280, 720)),
        ((256, 256), (640, 360)),
        ((160, 160), (320, 180)),
        ((80, 80), (160, 90)),
        ((641, 100), (1280, 720)),
    ],
)
def test_a_jpeg_is_decoded_no_larger_than_useful(
    useful: tuple[int, int] | None, size: tuple[int, int]
) -> None:
    """Half, a quarter, an eighth; whole for a still."""
    made = decoder("mjpg", 1280, 720, useful=useful)
    content = jpeg(1280, 720)
    small = made.decode(filled(content), len(content), full=False)
    whole = made.decode(filled(content), len(content), full=True)
    assert small is not None
    assert whole is not None
    assert small.shape[1::-1] == (made.width, made.height) == size
    assert whole.shape == (720, 1280, 3)
    near = cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - near).max() < 8


def test_a_jpeg_that_was_cut_off_is_corrupt() -> None:
    """Wherever it is cut, and whatever the buffer held before; so is one of another size."""
    made, content = decoder("mjpg", 320, 240), jpeg(320, 240)
    memory = filled(content)
    for used in (0, 1, 2, 20, len(content) // 2, len(content) * 9 // 10):
        assert made.decode(memory, used, full=False) is None
    assert made.decode(memory, len(content), full=False) is not None
    assert made.decode(filled(content + bytes(500)), len(content) + 500, full=False) is not None
    other = jpeg(640, 480)
    assert made.decode(filled(other), len(other), full=False) is None
    assert made.decode(filled(b"\xff\xd9" * 50), 100, full=False) is None


@pytest.mark.parametrize("padding", [0, 500, 20_000])
@pytest.mark.parametrize("end", [b"", b"\xff", b"\xff\xd9"])
@pytest.mark.parametrize("useful", [None, (40, 30)])
def test_a_jpeg_needs_no_end_marker(
    end: bytes, padding: int, useful: tuple[int, int] | None
) -> None:
    """Without it, with half of it, with zeros behind: the pixels are the same."""
    made, content = decoder("mjpg", 320, 240, useful=useful), jpeg(320, 240)
    expected = made.decode(filled(content), len(content), full=False)
    assert expected is not None
    sent = content[:-2] + end + bytes(padding)
    assert np.array_equal(made.decode(filled(sent), len(sent), full=False), expected)  # type: ignore[arg-type]
    for cut in (len(content) // 2, len(content) * 9 // 10):
        sent = content[:cut] + bytes(padding)
        assert made.decode(filled(sent), len(sent), full=False) is None


def test_a_jpeg_of_another_size_is_not_even_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it claims: nothing of that size is allocated."""
    made, content = decoder("mjpg", 320, 240), bytearray(jpeg(320, 240))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = (30_000).to_bytes(2, "big") * 2
    assert made.decode(filled(bytes(content)), len(content), full=False) is None


def test_a_jpeg_beyond_the_limit_is_decoded_at_half_its_size() -> None:
    """Also for a still; beyond four times the limit, the format is refused when negotiated."""
    made, content = decoder("mjpg", 320, 240, max_pixels=20_000), jpeg(320, 240)
    for full in (False, True):
        pixels = made.decode(filled(content), len(content), full=full)
        assert pixels is not None
        assert pixels.shape[1::-1] == (made.width, made.height) == made.still == (160, 120)
    with pytest.raises(CameraError, match="320x240 pixels: expected at most 19000") as caught:
        decoder("mjpg", 320, 240, max_pixels=19_000)
    assert caught.value.reason == "unsupported"


@pytest.mark.parametrize("format", [name for name in FORMATS if name not in ("mjpg", "jpeg")])
@pytest.mark.parametrize("stride", [0, 128])
def test_raw_pixels_are_in_their_places(format: str, stride: int) -> None:
    """With padded rows and without; only in full buffers, and without needless copies."""
    width, height = 36, 24
    made = decoder(format, width, height, stride)
    bytes_wide = {"yuyv": 2, "bgr3": 3, "rgb3": 3, "grey": 1}.get(format, 1) * width
    padded = stride or bytes_wide
    planar = format in ("nv12", "yu12")
    rows = height * 3 // 2 if planar else height
    content = np.random.default_rng(1).integers(0, 255, (rows, padded), np.uint8)
    memory = filled(content.tobytes())
    pixels = made.decode(memory, content.size, full=False)
    assert pixels is not None
    expected = content[:, :bytes_wide]
    if format == "yu12":
        chroma = content[height:].reshape(height, padded // 2)[:, : width // 2]
        expected = np.vstack([content[:height, :width], chroma.reshape(height // 2, width)])
    assert np.array_equal(pixels.reshape(rows, bytes_wide), expected)
    assert made.decode(memory, content.size - padded, full=False) is None
    whole = np.frombuffer(memory, np.uint8)
    assert np.shares_memory(pixels, whole) == (not planar or not stride)


def test_levels_are_the_devices_least_default_and_greatest() -> None:
    """Values beyond are clipped."""
    control = abi.ControlDescription(minimum=0, maximum=255, default=100)
    assert [level(at, control) for at in (-2, -1, -0.5, 0, 0.5, 1, 30)] == [
        0,
        0,
        50,
        100,
        178,
        255,
        255,
    ]
