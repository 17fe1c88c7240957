"""Made-up scenes, a ring of pictures in memory: a still one with a camera's noise, a moving one.

They show the model's golden picture, of which it is sure; without one, a shape before a gradient.
Drawing them is not measured, nor are a camera, its driver and a decoder.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.spec import view
from edge.cli.tune.records import Scene
from edge.config import CameraConfig
from edge.frames import Frame, PixelFormat
from edge.model.engine import Engine, Unreadable, read_picture

HELD, HELD_BYTES = 8, 50_000_000
"""Pictures of a ring, and their bytes; at least two."""
NOISE: Final = 2.0
"""Of a still scene: standard deviation in levels of 0 to 255."""
STEP: Final = 1 / 16
"""Of a moving scene: share of the width from one picture to the next."""
Pixels = NDArray[np.uint8]
Pictures = Sequence[tuple[Pixels, PixelFormat]]


def pictures(scene: Scene, config: CameraConfig, engine: Engine) -> Pictures:
    """Return the pictures of ``scene`` in the size of ``config``, in the layout of its camera."""
    picture = cv2.resize(_picture(engine), (config.width, config.height))
    source = random.Random(1)  # numpy.random would be memory that the daemon does not have
    made = []
    for index in range(max(2, min(HELD, HELD_BYTES // picture.nbytes))):
        if scene == "still":
            noise = _noise(source, config.height, config.width)
            pixels = np.clip(np.rint(picture + noise[..., None]), 0, 255).astype(np.uint8)
        else:
            pixels = np.roll(picture, round(index * STEP * config.width), 1)
        made.append(_as(layout(config.source), pixels))
    return made


def layout(source: str) -> PixelFormat:
    """Return the layout in which a source of this kind usually gives its pictures."""
    if source.startswith("/dev/"):
        return "yuyv"
    return "i420" if source == "auto" or source.startswith("picamera2") else "bgr"


def frame(
    made: Pictures, number: int, config: CameraConfig, captured_ns: int | None = None
) -> Frame:
    """Return picture ``number`` of the ring as a frame, taken now if not said otherwise."""
    pixels, kind = made[number % len(made)]
    at_ns = time.monotonic_ns() if captured_ns is None else captured_ns
    return Frame(number, at_ns, pixels, kind, view(config))


def _noise(source: random.Random, height: int, width: int) -> NDArray[np.float32]:
    """Return noise, (H, W): each the sum of four random bytes, which is nearly normal."""
    some = np.frombuffer(source.randbytes(4 * height * width), np.uint8)
    total = some.reshape(4, height, width).sum(0, dtype=np.float32)
    scale = np.float32(NOISE / math.sqrt(4 * (256**2 - 1) / 12))
    return np.asarray((total - 4 * 127.5) * scale, np.float32)


def _picture(engine: Engine) -> Pixels:
    if engine.card.golden:
        try:
            return read_picture(engine.folder / engine.card.golden.picture).pixels
        except Unreadable:
            pass  # it was read at the start; made up then
    shade = np.linspace(40, 200, 480, dtype=np.uint8)[:, None, None]
    picture = np.repeat(np.repeat(shade, 640, 1), 3, 2)
    cv2.rectangle(picture, (220, 120), (420, 360), (40, 120, 220), -1)
    return picture


def _as(kind: PixelFormat, pixels: Pixels) -> tuple[Pixels, PixelFormat]:
    """Return BGR ``pixels``, (H, W, 3), in another layout; as they are where the size is odd."""
    height, width = pixels.shape[:2]
    if kind == "bgr" or height % 2 or width % 2:
        return pixels, "bgr"
    planar = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2YUV_I420), np.uint8)
    if kind == "i420":
        return planar, kind
    colours = planar[height:].reshape(2, height // 2, width // 2).repeat(2, axis=1)
    packed = np.empty((height, width, 2), np.uint8)
    packed[..., 0] = planar[:height]
    packed[:, 0::2, 1], packed[:, 1::2, 1] = colours
    return packed, "yuyv"
