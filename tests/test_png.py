"""PNG stripped to its picture: what a decoder would do with the rest has no bound."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.pictures import picture, png
from tests.conftest import ROOT

SIGNATURE = png.SIGNATURE
END = png.END
PIXELS_MAX = 16_000_000


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a whole chunk."""
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def header(side: int, depth: int = 8, color: int = 2) -> bytes:
    """Return what a square picture begins with."""
    return SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, color, 0, 0, 0))


def data(side: int, depth: int = 8, channels: int = 3) -> bytes:
    """Return the image data of a black picture."""
    return chunk(b"IDAT", zlib.compress(bytes((side * channels * depth // 8 + 1) * side), 9))


def array(content: bytes) -> NDArray[np.uint8]:
    """Return bytes as an array."""
    return np.frombuffer(content, np.uint8)


TEXTS = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(7_000_000), 9))
ANIMATED = chunk(b"acTL", struct.pack(">II", 2, 0))
FRAME = struct.pack(">IIIIIHHBB", 0, 2820, 2820, 0, 0, 1, 1, 0, 0)
BOMBS = {
    "a text that claims 2 GB": header(16) + b"\x7f\xff\xff\xf0tEXt" + b"a" * 20 + data(16) + END,
    "image data that claim 2 GB": header(16) + b"\x7f\xff\xff\xf0IDAT" + b"x" * 8,
    "600 texts of 7 MB each": header(16) + 600 * TEXTS + data(16) + END,
    "28 GB of image data": header(16) + chunk(b"IDAT", zlib.compress(bytes(1 << 27), 9)) + END,
    "an animation behind 5,000 chunks": (
        header(4000, color=6) + 5000 * chunk(b"tEXt", b"a\0b") + ANIMATED
        + chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 4000, 4000, 0, 0, 1, 1, 0, 0))
        + data(4000, channels=4) + END
    ),
    "an animation of 16 bits": (
        header(2820, 16, 6) + ANIMATED + chunk(b"fcTL", FRAME) + data(2820, 16, 4)
        + chunk(b"fcTL", struct.pack(">I", 1) + FRAME[4:])
        + chunk(b"fdAT", b"\0\0\0\2" + zlib.compress(bytes((2820 * 8 + 1) * 2820), 9)) + END
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BOMBS)
def test_no_png_takes_more_than_its_pixels(kind: str, tmp_path: Path) -> None:
    """Decoded or refused, within 100 MB and at once; each took 190 to 2,170 MB, or 2 s and more."""
    (tmp_path / "a.png").write_bytes(BOMBS[kind])
    code = (
        "import resource, sys, time, numpy as np; from edge.pictures import picture;"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; before = peak()\n"
        "try: picture.decode(np.fromfile(sys.argv[1], np.uint8), 16_000_000)\n"
        "except picture.Unreadable: pass\n"
        "print(peak() - before, time.process_time())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert int(done.stdout.split()[0]) < 105_000, done.stdout  # kB
    assert not done.stderr


def variants() -> dict[str, bytes]:
    """Return a picture as PNG in many ways."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 4), np.uint8)
    gray, color = noise[:, :, 0], noise[:, :, :3]
    made = {
        "color": color, "alpha": noise, "gray": gray, "16 bits": color.astype(np.uint16) * 257,
    }  # fmt: skip
    pictures = {name: cv2.imencode(".png", pixels)[1].tobytes() for name, pixels in made.items()}
    bilevel = [cv2.IMWRITE_PNG_BILEVEL, 1]
    pictures["bilevel"] = cv2.imencode(".png", gray // 128 * 255, bilevel)[1].tobytes()
    at = pictures["color"].index(b"IDAT") - 4
    pictures["with a text"] = pictures["color"][:at] + TEXTS + pictures["color"][at:]
    pictures["without an end"] = pictures["color"].removesuffix(END)
    pictures["with rubbish behind"] = pictures["color"] + b"rubbish" * 100
    return pictures


@pytest.mark.parametrize("kind", variants())
def test_the_picture_itself_stays_the_same(kind: str) -> None:
    """Pixel by pixel as OpenCV decodes the whole file."""
    content = array(variants()[kind])
    whole = cv2.imdecode(content, cv2.IMREAD_COLOR)
    pixels = picture.decode(content, PIXELS_MAX)
    if whole is not None:  # which it may refuse where the end is missing
        assert np.array_equal(pixels, whole)
    assert pixels.shape == (60, 90, 3)


@pytest.mark.parametrize("name", ["interlaced", "palette"])
def test_pictures_of_other_programs(name: str) -> None:
    """Pillow's, with a palette and transparency; interlaced ones have more rows."""
    content = array((ROOT / "tests" / "corpus" / "pictures" / f"{name}.png").read_bytes())
    assert np.array_equal(
        picture.decode(content, PIXELS_MAX), np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR))
    )
