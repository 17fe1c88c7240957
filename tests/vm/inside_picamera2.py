"""The real libcamera and picamera2, with libcamera's simulated cameras. Runs in the machine."""

from __future__ import annotations

import gc
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.config import ModelConfig
from edge.errors import CameraError
from edge.frames import Frame, Rotation, View
from edge.model import engine as engines
from tests.conftest import model_folder
from tests.specs import camera_spec
from tests.vm import virtual

WAIT_S = 30.0
BARS = (
    *((255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0)),
    *((255, 0, 255), (255, 0, 0), (0, 0, 255), (0, 0, 0)),
)
"""libcamera's, from the left, in RGB."""

Open = Callable[..., Any]


# picamera2 starts its threads in a way that Python does not like any more.
pytestmark = pytest.mark.filterwarnings("ignore:setDaemon:DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def cameras() -> None:
    """The simulated cameras: `bars` and `colours`."""
    virtual.prepare()


@pytest.fixture
def open_one() -> Iterator[Open]:
    """Return a function that opens a camera; it is closed after the test."""
    from edge.camera.picamera2 import Picamera2Camera

    opened = []

    def begin(model: str, **changes: Any) -> Picamera2Camera:
        spec = camera_spec("picamera2", **({"useful": (224, 224)} | changes))
        opened.append(Picamera2Camera(virtual.number(model), spec))
        return opened[-1]

    yield begin
    for camera in opened:
        camera.close()


def rgb(frame: Frame) -> NDArray[np.uint8]:
    """Return the picture as the model sees it."""
    code = {"nv12": cv2.COLOR_YUV2RGB_NV12, "i420": cv2.COLOR_YUV2RGB_I420}[frame.format]
    return np.asarray(cv2.cvtColor(frame.pixels, code), np.uint8)


def bars(frame: Frame) -> list[tuple[int, ...]]:
    """Return the colour in the middle of each of eight bars, rounded to what a bar can be."""
    picture = rgb(frame)
    step = picture.shape[1] // 8
    row = picture[picture.shape[0] // 2, step // 2 :: step]
    assert np.all((row < 8) | (row > 247)), row
    return [tuple(int(value > 127) * 255 for value in pixel) for pixel in row]


@pytest.mark.parametrize(
    ("size", "lores"), [((640, 480), (320, 240)), ((1280, 720), (448, 252)), ((648, 486), None)]
)
def test_the_bars_have_their_colours(
    open_one: Open, size: tuple[int, int], lores: tuple[int, int] | None
) -> None:
    """In the small stream, and in the large one, by `still`."""
    camera = open_one("bars", width=size[0], height=size[1], useful=lores and (224, 224))
    mode = camera.mode
    assert (mode.width, mode.height) == (lores or size)
    assert mode.still == (size if lores else None)
    assert (mode.driver, mode.device, mode.format) == ("picamera2", "bars", "NV12")
    frame = camera.read(WAIT_S)
    assert bars(frame) == list(BARS)
    assert rgb(frame).shape == (mode.height, mode.width, 3)
    still = camera.still()
    if lores:
        assert rgb(still).shape == (size[1], size[0], 3)
        assert bars(still) == list(BARS)
        assert still.sequence > frame.sequence
    else:
        assert still is None


def test_red_green_and_blue_come_in_order_up_to_the_label(open_one: Open, tmp_path: Path) -> None:
    """From libcamera's buffers to a model's scores; a reader that is late may miss some."""
    engine = engines.start(ModelConfig(str(model_folder(tmp_path / "rgb"))))
    camera = open_one("colours")
    scores = np.empty(3, np.float32)
    order = ["red", "green", "blue"]
    turns = [[order[(first + index) % 3] for index in range(4)] for first in range(3)]
    seen: list[str] = []
    until = time.monotonic() + WAIT_S
    while seen[-4:] not in turns and time.monotonic() < until:
        engine.classify(camera.read(WAIT_S), scores)
        label = engine.card.labels[int(scores.argmax())]
        if seen[-1:] != [label]:
            seen.append(label)
    assert seen[-4:] in turns, seen


def test_times_are_the_sensors_and_numbers_grow(open_one: Open) -> None:
    """Taken after the read before began, and before now; a gap in the numbers is one in time."""
    camera = open_one("bars", first_sequence=100)
    frames = []
    for _ in range(6):
        frame = camera.read(WAIT_S)
        assert 0 <= time.monotonic_ns() - frame.captured_ns < WAIT_S * 1e9
        frames.append((frame.sequence, frame.captured_ns))
    assert frames[0][0] == 100
    for (number, taken), (next_number, next_taken) in itertools.pairwise(frames):
        assert next_taken > taken
        expected = max(1, round((next_taken - taken) / camera._period_ns))
        assert next_number - number == expected


@pytest.mark.parametrize("rotation", [0, 90, 270])
def test_what_the_camera_cannot_do_is_left_to_software(open_one: Open, rotation: Rotation) -> None:
    """It neither turns nor cuts. (It claims to mirror and does not: not tested.)"""
    view = View(rotation, roi=(0.25, 0.25, 0.5, 0.5))
    frame = open_one("bars", view=view, useful=(448, 448)).read(WAIT_S)
    assert frame.view == view
    assert frame.pixels.shape[1] == 640, "a half of less would be too little for the model"


def test_an_unknown_control_is_refused(open_one: Open) -> None:
    """In one line; frames go on."""
    camera = open_one("bars")
    with pytest.raises(CameraError) as caught:
        camera.control({"gain": 2.0})
    assert str(caught.value) == "picamera2: this source has no control `gain`: expected none"
    assert camera.read(WAIT_S) is not None


def test_a_camera_that_is_not_there(open_one: Open) -> None:
    """In one line, with a hint."""
    from edge.camera.picamera2 import Picamera2Camera

    with pytest.raises(
        CameraError, match="picamera2:7: no such camera: expected one of 2"
    ) as caught:
        Picamera2Camera(7, camera_spec("picamera2:7"))
    assert caught.value.reason == "absent"


def test_a_camera_that_is_in_use(open_one: Open) -> None:
    """One error line; its user goes on, and nothing is left behind."""
    camera = open_one("bars")
    camera.read(WAIT_S)
    before = descriptors()
    for _ in range(3):
        with pytest.raises(CameraError) as caught:
            open_one("bars")
        assert caught.value.reason == "busy", str(caught.value)
    assert camera.read(WAIT_S) is not None
    del caught
    assert descriptors() == before


def test_a_half_opened_camera_is_released(open_one: Open) -> None:
    """No memory for its buffers, which picamera2 notices while it holds the camera."""
    heap, elsewhere = Path("/dev/dma_heap/linux,cma"), Path("/dev/dma_heap/elsewhere")
    heap.rename(elsewhere)
    try:
        with pytest.raises(CameraError, match="cannot be opened: Could not open any dma") as caught:
            open_one("bars")
    finally:
        elsewhere.rename(heap)
    assert caught.value.reason == "denied"
    assert bars(open_one("bars").read(WAIT_S)) == list(BARS)


def test_opened_ten_times_nothing_is_left(open_one: Open) -> None:
    """Neither descriptors nor threads nor memory, whichever thread opens, reads and closes."""
    seen = []
    for _ in range(10):
        box: list[Any] = []
        opener = threading.Thread(target=lambda: box.append(open_one("bars")))  # noqa: B023
        opener.start()
        opener.join()
        assert bars(box[0].read(WAIT_S)) == list(BARS)
        closer = threading.Thread(target=box[0].close)
        closer.start()
        closer.join()
        box[0].close()
        seen.append((descriptors(), threading.active_count(), memory()))
    assert [counts[:2] for counts in seen[2:]] == [seen[1][:2]] * 8
    assert seen[-1][2] - seen[1][2] < 8e6, "bytes; the buffers of one of them are 2.3e6"


def test_a_stalled_camera_is_closed_at_once_and_comes_back(open_one: Open) -> None:
    """All its buffers are held back, as with a loose cable; a read is still waiting."""
    camera = open_one("bars")
    assert camera.read(WAIT_S) is not None
    held = []
    while (request := _request(camera, 3.0)) is not None:
        held.append(request)
    assert camera.read(0.2) is None
    assert camera.read(0.2) is None
    began = time.monotonic()
    camera.close()
    assert time.monotonic() - began < WAIT_S / 3
    for request in held:
        request.release()
    assert bars(open_one("bars").read(WAIT_S)) == list(BARS)


def test_a_request_from_before_a_pause_is_not_the_next_frame(open_one: Open) -> None:
    """After a pause, the next frame was taken after it."""
    camera = open_one("bars")
    while camera.read(0.0) is not None:
        pass
    time.sleep(1.0)  # the pause itself
    now = time.monotonic_ns()
    frame = camera.read(WAIT_S)
    assert frame.captured_ns > now - 0.5e9


def test_a_slow_reader_gets_the_newest_frame(open_one: Open) -> None:
    """Its age is one frame's, not that of all that came meanwhile; the gap is in the numbers."""
    camera = open_one("bars")
    last = camera.read(WAIT_S)
    for _ in range(3):
        time.sleep(1.5)  # the slow reader itself
        began = time.monotonic_ns()
        frame = camera.read(WAIT_S)
        assert frame.captured_ns > began - 1e9
        assert frame.sequence - last.sequence == round(
            (frame.captured_ns - last.captured_ns) / camera._period_ns
        )
        last = frame


def test_a_useless_still_costs_nothing(open_one: Open) -> None:
    """The large picture's array is made when it is needed, not before."""
    camera = open_one("bars")
    camera.read(WAIT_S)
    assert camera._main.pixels.size == 0
    camera.still()
    assert camera._main.pixels.size == 640 * 480 * 3 // 2


def _request(camera: Any, timeout_s: float) -> Any:
    """Take a request away from picamera2; None where none comes."""
    job = camera._camera.capture_request(wait=False)
    try:
        return camera._camera.wait(job, timeout=timeout_s)
    except TimeoutError:
        return None


def memory() -> int:
    """Return the bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def descriptors() -> int:
    """Return how many files this process has open."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))
