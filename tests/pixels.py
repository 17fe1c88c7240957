"""What an OpenCV makes of films, pictures and arrays, as checksums: to compare two builds of it.

    python -I tests/pixels.py FOLDER FILM...     FOLDER: with pictures; prints JSON, name -> sha256

Needs OpenCV and NumPy alone; run it with each build first on the path: -I would hide PYTHONPATH, so
the folder of the build is the variable CV2.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

if os.environ.get("CV2"):
    sys.path.insert(0, os.environ["CV2"])

import cv2
import numpy as np

SIZES = ((480, 640), (720, 1280), (247, 331))
FLAGS = {"colour": 1, "half": 17, "quarter": 33, "eighth": 65}
CODES = (
    *("BGR2GRAY", "BGR2RGB", "RGB2BGR", "RGB2GRAY"),
    *("YUV2BGR_I420", "YUV2BGR_NV12", "YUV2RGB_I420", "YUV2RGB_NV12", "YUV2GRAY_I420"),
    *("YUV2BGR_YUYV", "YUV2RGB_YUYV", "YUV2GRAY_YUYV"),
)


def digest(*arrays: Any) -> str:
    """Return the checksum of shapes and values."""
    made = hashlib.sha256()
    for array in map(np.asarray, arrays):
        made.update(f"{array.shape}{array.dtype}".encode() + array.tobytes())
    return made.hexdigest()


def film(path: Path) -> str:
    """Return the checksum of every frame, in order, and of its timestamp."""
    made = hashlib.sha256()
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = 0
    while capture.isOpened() and (read := capture.read())[0]:
        made.update(read[1].tobytes())
        made.update(f"{capture.get(cv2.CAP_PROP_POS_MSEC):.3f}".encode())
        frames += 1
    return f"{frames} frames {made.hexdigest()}"


def arrays() -> dict[str, str]:
    """Return the checksums of resizes, conversions, turns, tables and codecs."""
    made = {}
    random = np.random.default_rng(5)
    for height, width in SIZES:
        name = f"{width}x{height}"
        bgr = random.integers(0, 256, (height, width, 3), np.uint8)
        bgr = np.asarray(cv2.resize(bgr[::8, ::8], (width, height)))  # as smooth as a picture
        for side in (224, 256, 96):
            for method in ("LINEAR", "AREA"):
                code = getattr(cv2, f"INTER_{method}")
                resized = cv2.resize(bgr, (side, side), interpolation=code)
                made[f"{name} resize {side} {method}"] = digest(resized)
        for code in CODES:
            pixels = bgr
            if "YUYV" in code:
                pixels = random.integers(0, 256, (height, width // 2 * 2, 2), np.uint8)
            elif code.startswith("YUV"):
                pixels = random.integers(0, 256, (height // 2 * 3, width // 2 * 2), np.uint8)
            made[f"{name} {code}"] = digest(cv2.cvtColor(pixels, getattr(cv2, f"COLOR_{code}")))
        made[f"{name} turned"] = digest(*(cv2.rotate(bgr, code) for code in range(3)))
        made[f"{name} mirrored"] = digest(*(cv2.flip(bgr, code) for code in (-1, 0, 1)))
        made[f"{name} transposed"] = digest(cv2.transpose(bgr))
        table = random.integers(-128, 127, 256, np.int8)
        made[f"{name} table"] = digest(cv2.LUT(bgr, table.view(np.uint8)))
        grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
        made[f"{name} Laplacian"] = digest(cv2.Laplacian(grey, cv2.CV_16S))
        made[f"{name} mean"] = digest(*(f"{value:.6f}" for value in cv2.mean(bgr)))
        made[f"{name} png"] = digest(cv2.imdecode(cv2.imencode(".png", bgr)[1], 1))
        made[f"{name} jpeg"] = digest(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1])
    return made


def pictures(folder: Path) -> dict[str, str]:
    """Return the checksums of decoded pictures, at each size that they are decoded in."""
    made = {}
    for path in sorted(folder.iterdir()):
        content = np.frombuffer(path.read_bytes(), np.uint8)
        for name, flags in FLAGS.items():
            try:
                decoded = cv2.imdecode(content, flags)
            except cv2.error:
                decoded = None  # smaller than one pixel
            made[f"{path.name} {name}"] = "none" if decoded is None else digest(decoded)
    return made


if __name__ == "__main__":
    cv2.setNumThreads(1)
    films = {Path(name).name: film(Path(name)) for name in sys.argv[2:]}
    print(json.dumps({**films, **pictures(Path(sys.argv[1])), **arrays()}))
