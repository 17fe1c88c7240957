"""libcamera's simulated cameras, and the patches with which picamera2 accepts them.

Runs in the machine, before libcamera is imported. libcamera's `virtual` pipeline handler gives
NV12 in given sizes, one for each stream. What is replaced here, and why:

- picamera2's list of raw modes, which such a camera does not have;
- its buffers: one plane holds the whole picture, and the handler wants one for each of two;
- the heap for them: `linux,cma` is a name of the system's heap here.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import cv2
import numpy as np

HERE: Final = Path(__file__).resolve().parent
SIZES: Final = ((640, 480), (320, 240), (1280, 720), (448, 252), (648, 486))
CAMERA: Final = """
"{name}":
  supported_formats:
{sizes}
{source}
  location: "CameraLocationExternal"
  model: "{model}"
"""
COLOURS: Final = {"1-red": (0, 0, 255), "2-green": (0, 255, 0), "3-blue": (255, 0, 0)}
"""Pictures in the order they come, and their colour in BGR."""


def prepare() -> None:
    """Make two cameras: `bars`, colour bars; `colours`, whole pictures of red, green, blue."""
    stubs = str(HERE / "stubs")
    sys.path.insert(0, stubs)
    # Also in processes that this one starts with -I, which take nothing from the environment.
    Path(sysconfig.get_path("purelib"), "stubs.pth").write_text(f"{stubs}\n")
    heap = Path("/dev/dma_heap/linux,cma")
    if not heap.exists():
        heap.symlink_to("system")
    pictures = Path("/tmp/colours")
    pictures.mkdir(exist_ok=True)
    for name, colour in COLOURS.items():
        picture = np.full((720, 1280, 3), colour, np.uint8)
        cv2.imwrite(str(pictures / f"{name}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    sizes = "\n".join(
        f"  - width: {width}\n    height: {height}\n    frame_rates:\n    - 30"
        for width, height in SIZES
    )
    folder = Path("/usr/share/libcamera/pipeline/virtual")
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath("virtual.yaml").write_text(
        CAMERA.format(name="A", model="bars", sizes=sizes, source='  test_pattern: "bars"')
        + CAMERA.format(
            name="B", model="colours", sizes=sizes, source=f'  frames:\n    path: "{pictures}"'
        )
    )
    _adapt()


def _adapt() -> None:
    import libcamera
    from picamera2 import Picamera2
    from picamera2.allocators import dmaallocator

    def two_planes(planes: list[Any]) -> Any:
        luma, chroma = planes[0], libcamera.FrameBuffer.Plane()
        total = luma.length
        luma.length = total * 2 // 3  # the same object: picamera2 goes by its descriptor
        chroma.fd, chroma.offset, chroma.length = luma.fd, luma.length, total - luma.length
        return libcamera.FrameBuffer([luma, chroma])

    two_planes.Plane = libcamera.FrameBuffer.Plane  # type: ignore[attr-defined]
    dmaallocator.libcamera = SimpleNamespace(FrameBuffer=two_planes)
    Picamera2._get_raw_modes = lambda _: [{"format": "NV12", "size": SIZES[2]}]


def number(model: str) -> int:
    """Return the number of a camera in picamera2's order."""
    from picamera2 import Picamera2

    return [camera["Model"] for camera in Picamera2.global_camera_info()].index(model)
