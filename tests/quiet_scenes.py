"""Made-up films of a camera that looks at a room in which little happens, frame by frame.

Deterministic: a scene and a seed give the same pixels. The pictures are the demo clip's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from deploy.demo import make_clip
from edge.frames import Frame

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]
FPS: Final = 15
WIDTH, HEIGHT = 640, 480


@cache
def room(name: str = "neither_lomiri_room.jpg") -> Floats:
    """Return a picture without an animal, (480, 640, 3) BGR."""
    picture = cv2.imread(str(make_clip.HERE / "pictures" / name))
    return make_clip.look(np.asarray(picture, np.uint8), (1.0, 0.5, 0.5)).astype(np.float32)


@cache
def animal(name: str, width: int) -> tuple[Floats, Floats]:
    """Return a picture of an animal, ``width`` wide, and how opaque it is: an oval, soft edge."""
    picture = cv2.imread(str(make_clip.HERE / "pictures" / name))
    assert picture is not None
    height = round(width * picture.shape[0] / picture.shape[1])
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return small, np.clip((1 - np.hypot(x, y)) * 6, 0, 1)[..., None].astype(np.float32)


def put(scene: Floats, name: str, width: int, left: float, top: float, opaque: float = 1) -> Floats:
    """Return ``scene`` with an animal, wherever it is, also partly or wholly outside."""
    picture, mask = animal(name, width)
    move = np.array([[1, 0, left], [0, 1, top]], np.float32)
    size = (WIDTH, HEIGHT)
    cover = cv2.warpAffine(mask, move, size)[..., None] * opaque
    return scene * (1 - cover) + cv2.warpAffine(picture, move, size) * cover


def frames(scene: Iterator[Floats], seed: int = 1, noise: float = 2.0) -> Iterator[Frame]:
    """Yield a scene as a camera gives it: with its noise, 15 frames a second.

    noise  of a pixel, standard deviation in levels of 0 to 255, the same in all colours
    """
    random = np.random.default_rng(seed)
    fields = random.normal(0, noise, (8, HEIGHT, WIDTH, 1)).astype(np.float32)
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for number, picture in enumerate(scene):
        field = fields[random.integers(8)]
        field = np.roll(field, random.integers(0, WIDTH, 2).tolist(), (0, 1))
        np.clip(np.rint(picture + field), 0, 255, out=pixels, casting="unsafe")
        yield Frame(number, 10**9 + number * 10**9 // FPS, pixels, "bgr")


def still(seconds: float = 20) -> Iterator[Floats]:
    """Nothing happens."""
    for _ in range(round(seconds * FPS)):
        yield room()


def slow_entry(seconds: float = 24) -> Iterator[Floats]:
    """A cat creeps in from the left, less than a pixel a frame, stays, and creeps out again."""
    for _ in range(4 * FPS):
        yield room()
    steps = round(seconds * FPS)
    for step in range(steps):
        yield put(room(), "cat_skimage_chelsea.jpg", 300, -300 + 300 * step / steps, 220)
    for _ in range(5 * FPS):
        yield put(room(), "cat_skimage_chelsea.jpg", 300, 0, 220)
    for step in range(steps):
        yield put(room(), "cat_skimage_chelsea.jpg", 300, -300 * step / steps, 220)
    for _ in range(3 * FPS):
        yield room()


def small(opaque: float = 0.9) -> Iterator[Floats]:
    """A pale cat of 3 % of the picture is there at once, and gone at once, three times."""
    base = room("neither_kphotoalbum_billiards.jpg")
    there = put(base, "cat_skimage_chelsea.jpg", 140, 220, 300, opaque)
    for _ in range(3):
        for _ in range(4 * FPS + 7):
            yield base
        for _ in range(4 * FPS + 2):
            yield there
    for _ in range(2 * FPS):
        yield base


def dark() -> Iterator[Floats]:
    """The same in the dark, a larger dog. Its noise is for ``frames`` to make."""
    base = room() * 0.2
    there = put(room(), "dog_plasma_retriever.jpg", 300, 200, 150) * 0.2
    for _ in range(2):
        for _ in range(8 * FPS):
            yield base
        for _ in range(6 * FPS):
            yield there
    for _ in range(4 * FPS):
        yield base


def flicker(hertz: float = 100.0, depth: float = 0.2) -> Iterator[Floats]:
    """A lamp at mains frequency under a rolling shutter: bands, and a cat that comes and goes."""
    rows = np.arange(HEIGHT, dtype=np.float32)[:, None, None] / HEIGHT * 0.02  # readout: 20 ms
    there = put(room(), "cat_skimage_chelsea.jpg", 200, 220, 260)
    for number in range(30 * FPS):
        phase = 2 * math.pi * hertz * (number / FPS + rows)
        scene = there if 10 * FPS <= number < 18 * FPS else room()
        yield scene * (1 + depth * np.sin(phase)).astype(np.float32)


def exposure() -> Iterator[Floats]:
    """The camera's exposure goes up and down in steps, most without, two with a cause."""
    there = put(room(), "dog_plasma_retriever.jpg", 300, 200, 150)
    gain = 1.0
    for number in range(40 * FPS):
        goal = 0.75 if number // (3 * FPS) % 2 else 1.1
        gain += max(-0.05, min(0.05, goal - gain))  # as cameras do: a step a frame
        yield (there if 12 * FPS <= number < 22 * FPS else room()) * gain


def lamp() -> Iterator[Floats]:
    """The light goes off, a cat comes in the dark, the light goes on, and the cat goes."""
    there = put(room(), "cat_skimage_chelsea.jpg", 300, 200, 200)
    for number in range(36 * FPS):
        lit = not 6 * FPS <= number < 18 * FPS
        yield (there if 12 * FPS <= number < 27 * FPS else room()) * (1.0 if lit else 0.12)


def dusk() -> Iterator[Floats]:
    """The light fades to a third within a minute; in the middle of it a dog stays for a while."""
    there = put(room(), "dog_plasma_retriever.jpg", 200, 200, 250)
    for number in range(60 * FPS):
        scene = there if 25 * FPS <= number < 35 * FPS else room()
        yield scene * (1 - number / (90 * FPS))


def fade() -> Iterator[Floats]:
    """What no animal does: a cat appears within half a minute, everywhere at once."""
    for _ in range(3 * FPS):
        yield room()
    for step in range(30 * FPS):
        yield put(room(), "cat_skimage_chelsea.jpg", 300, 200, 200, step / (30 * FPS))
    for _ in range(4 * FPS):
        yield put(room(), "cat_skimage_chelsea.jpg", 300, 200, 200)


SCENES: Final[dict[str, tuple[Callable[[], Iterator[Floats]], float]]] = {
    "still": (still, 2.0),
    "slow entry": (slow_entry, 2.0),
    "small": (small, 2.0),
    "dark": (dark, 8.0),
    "flicker": (flicker, 2.0),
    "slow flicker": (lambda: flicker(90.4), 2.0),
    "exposure": (exposure, 2.0),
    "lamp": (lamp, 3.0),
    "dusk": (dusk, 2.0),
    "fade": (fade, 2.0),
}
"""Name -> a scene, and the noise of its camera."""
