"""The real V4L2, with the kernel's test driver `vivid`. Runs in the machine."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.camera import open_camera, v4l2
from edge.camera import v4l2_abi as abi
from edge.camera.v4l2_device import is_camera, open_device
from edge.errors import CameraError
from edge.frames import Camera, Frame, View
from edge.model.card import Preprocessing, TensorSpec
from edge.model.preprocess import Preprocessor
from tests.specs import camera_spec

DEVICE = "/dev/video0"
DRIVER = Path("/sys/bus/platform/drivers/vivid")
PATTERNS = {"red": 7, "green": 8, "blue": 9}
BARS = 1
RGB = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
BAR_COLORS = (
    *((255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0)),
    *((255, 0, 255), (255, 0, 0), (0, 0, 255), (0, 0, 0)),
)
WEBCAM, HDMI = 0, 1
S_INPUT = abi._number(3, 39, ctypes.c_int32)
NEXT = 0x80000000
WAIT_S = 30.0


def set_control(name: str, value: int) -> None:
    """Set one of the driver's own controls."""
    device = open_device(DEVICE)
    number = 0
    try:
        while True:
            control = abi.call(device, abi.QUERYCTRL, abi.ControlDescription(id=number | NEXT))
            number = control.id
            if control.name.decode() == name:
                abi.call(device, abi.S_CTRL, abi.V4l2ControlValue(number, value))
                return
    finally:
        os.close(device)


def choose_input(number: int) -> None:
    """Switch the device between its webcam and its HDMI input."""
    device = open_device(DEVICE)
    abi.call(device, S_INPUT, ctypes.c_int32(number))
    os.close(device)


@pytest.fixture(autouse=True)
def webcam() -> None:
    """Every test begins with the webcam, colour bars, and no text in the picture."""
    choose_input(WEBCAM)
    set_control("Test Pattern", BARS)
    set_control("OSD Text Mode", 2)


@pytest.fixture
def opened() -> Iterator[Callable[..., Camera]]:
    """Return a function that opens the device; what it opens is closed."""
    cameras: list[Camera] = []

    def begin(**changes: object) -> Camera:
        settings: dict[str, object] = {"width": 640, "height": 480, "fps": 30.0} | changes
        cameras.append(open_camera(camera_spec(DEVICE, **settings)))
        return cameras[-1]

    yield begin
    for camera in cameras:
        camera.close()


def take(camera: Camera) -> Frame:
    """Return the next frame; fail without one."""
    frame = camera.read(WAIT_S)
    assert frame is not None
    return frame


def look_on(camera: Camera) -> None:
    """Read for some seconds, whatever comes."""
    until = time.monotonic() + 5.0
    while time.monotonic() < until:
        camera.read(0.2)


def tensor(frame: Frame, side: int = 64) -> NDArray[np.uint8]:
    """Return the model's input, (side, side, 3) RGB."""
    spec = TensorSpec((1, side, side, 3), np.dtype(np.uint8), 1 / 127.5, 127)
    out = np.empty(spec.shape, np.uint8)
    Preprocessor(Preprocessing(), spec)(frame, out)
    return np.asarray(out[0], np.uint8)


@pytest.mark.parametrize("format", ["yuyv", "nv12", "yu12", "bgr3", "rgb3"])
def test_red_green_and_blue_arrive_as_such(opened: Callable[..., Camera], format: str) -> None:
    """Up to the tensor, in every format that a frame can have."""
    for name, number in PATTERNS.items():
        set_control("Test Pattern", number)
        camera = opened(format=format)
        assert camera.mode.format == format
        color = tensor(take(camera)).reshape(-1, 3).mean(axis=0)
        camera.close()
        assert color == pytest.approx(RGB[name], abs=8), name


@pytest.mark.parametrize("format", ["yuyv", "nv12", "yu12", "bgr3"])
def test_bars_are_in_order_where_rows_are_padded(
    opened: Callable[..., Camera], format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDMI, scaled to a width that is no multiple of 64, with an even longer stride."""
    choose_input(HDMI)
    real = abi.call

    def padded(device: int, number: int, argument: object) -> object:
        if number == abi.S_FMT:
            argument.fmt.pix.bytesperline = 1500  # type: ignore[attr-defined]
        return real(device, number, argument)

    monkeypatch.setattr(abi, "call", padded)
    camera = opened(format=format, width=360, height=240)
    assert (camera.mode.width, camera.mode.height) == (360, 240)
    picture = tensor(take(camera), side=80)
    for index, color in enumerate(BAR_COLORS):
        bar = picture[:, 10 * index + 3 : 10 * index + 7].reshape(-1, 3).mean(axis=0)
        assert bar == pytest.approx(color, abs=30), index  # HDMI's YUV is BT.709, read as BT.601


def test_turned_mirrored_and_cut(opened: Callable[..., Camera]) -> None:
    """The view is applied on the way into the tensor: the right half, upside down."""
    camera = opened(view=View(rotation=180, roi=(0.0, 0.0, 0.5, 1.0)))
    picture = tensor(take(camera), side=80)
    for index, color in enumerate(BAR_COLORS[:3:-1]):
        bar = picture[:, 20 * index + 5 : 20 * index + 15].reshape(-1, 3).mean(axis=0)
        assert bar == pytest.approx(color, abs=12), index


def test_the_mode_is_what_was_negotiated(opened: Callable[..., Camera]) -> None:
    """The driver's size instead of the configured one, its rate and its name."""
    camera = opened(width=700, height=500, fps=1000.0)
    assert (camera.mode.width, camera.mode.height) == (640, 480)
    assert 1.0 <= camera.mode.fps <= 200.0
    assert camera.mode.device == "vivid"
    assert camera.mode.format == "yuyv"


def test_a_slow_reader_gets_the_current_frame(opened: Callable[..., Camera]) -> None:
    """However long it takes: no older than a period, with the driver's own sequence and time."""
    camera = opened(fps=10.0)
    first = take(camera).sequence
    assert first < 20
    started_ns = time.monotonic_ns()
    seen = []
    for _ in range(4):
        time.sleep(1.0)  # the slow reader itself
        frame = take(camera)
        seen.append(frame.sequence)
        assert time.monotonic_ns() - frame.captured_ns < 0.1e9 + 0.2e9  # a period, a slow machine
    taken_s = (time.monotonic_ns() - started_ns) / 1e9
    assert np.all(np.diff(seen) > 5)
    assert seen[-1] == pytest.approx(taken_s * camera.mode.fps, abs=4)


def test_frames_are_views_of_four_buffers(opened: Callable[..., Camera]) -> None:
    """Nothing is copied, and the held buffer is not written to."""
    camera = opened(fps=60.0)
    places = set()
    for _ in range(20):
        frame = take(camera)
        held = frame.pixels.copy()
        time.sleep(0.05)  # several frames
        assert np.array_equal(held, frame.pixels)
        places.add(frame.pixels.__array_interface__["data"][0])
    assert len(places) <= v4l2.BUFFERS


def test_dropped_buffers_are_gaps_and_marked_ones_are_counted(
    opened: Callable[..., Camera],
) -> None:
    """A third of the buffers dropped; one buffer marked as faulty."""
    set_control("Percentage of Dropped Buffers", 33)
    try:
        camera = opened(fps=60.0)
        sequences = [take(camera).sequence for _ in range(40)]
    finally:
        set_control("Percentage of Dropped Buffers", 0)
    assert sequences == sorted(set(sequences))
    assert sequences[-1] - sequences[0] > 45
    set_control("Inject V4L2_BUF_FLAG_ERROR", 1)
    take(camera)
    take(camera)
    assert camera.corrupt_total == 1


def test_a_failing_driver_is_an_error(opened: Callable[..., Camera]) -> None:
    """A fatal error while frames come, and one at the start."""
    camera = opened()
    take(camera)
    set_control("Inject Fatal Streaming Error", 1)
    with pytest.raises(CameraError, match="/dev/video0: "):
        look_on(camera)
    camera.close()
    set_control("Inject VIDIOC_STREAMON Error", 1)
    with pytest.raises(CameraError):
        opened()
    take(opened())


def test_controls_are_the_devices_own(opened: Callable[..., Camera]) -> None:
    """Less brightness makes the picture darker; an unknown control is one line."""
    camera = opened()
    before = tensor(take(camera)).mean()
    camera.control({"brightness": -1.0})
    for _ in range(5):
        after = tensor(take(camera)).mean()
    camera.control({"brightness": 0.0})
    assert after < before - 30
    with pytest.raises(CameraError, match="no control `exposure_us`"):
        camera.control({"exposure_us": 1000})


def test_a_camera_in_use_is_an_error_and_free_when_closed(opened: Callable[..., Camera]) -> None:
    """Even while somebody still holds one of its frames."""
    camera = opened()
    frame = take(camera)
    with pytest.raises(CameraError, match="is in use") as caught:
        opened()
    assert caught.value.reason == "busy"
    camera.close()
    camera.close()
    assert take(opened()).pixels.shape == frame.pixels.shape


def _as_nobody(answer: multiprocessing.connection.Connection) -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    try:
        open_camera(camera_spec(DEVICE))
    except CameraError as exc:
        answer.send((exc.reason, str(exc)))


def test_a_camera_without_permission_names_the_group() -> None:
    """As a user who is not in the group video."""
    os.chmod(DEVICE, 0o660)
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_as_nobody, args=(theirs,))
    process.start()
    assert mine.poll(WAIT_S)
    reason, line = mine.recv()
    process.join()
    assert reason == "denied"
    assert "group video" in line


def test_an_unplugged_camera_is_noticed_at_once_and_comes_back(
    opened: Callable[..., Camera],
) -> None:
    """The driver is unbound while frames come, and bound again."""
    gc.collect()  # a frame that an earlier test still holds keeps the device's number in use
    camera = opened()
    take(camera)
    (DRIVER / "unbind").write_text("vivid.0")

    with pytest.raises(CameraError, match="has gone") as caught:
        look_on(camera)
    assert caught.value.reason == "gone"
    camera.close()
    with pytest.raises(CameraError) as caught:
        opened()
    assert caught.value.reason == "absent"
    (DRIVER / "bind").write_text("vivid.0")
    until = time.monotonic() + WAIT_S
    while not is_camera(DEVICE):
        assert time.monotonic() < until, list(Path("/dev").glob("video*"))
        time.sleep(0.1)
    assert 7 <= take(opened(first_sequence=7)).sequence < 40


def test_another_mode_of_an_input_is_noticed(opened: Callable[..., Camera]) -> None:
    """The source of an HDMI input changes its mode: the camera must be opened again."""
    choose_input(HDMI)
    camera = opened()
    take(camera)
    set_control("DV Timings Signal Mode", 1)  # no signal

    try:
        with pytest.raises(CameraError) as caught:
            look_on(camera)
    finally:
        set_control("DV Timings Signal Mode", 0)
    assert caught.value.reason == "changed"


def test_only_cameras_are_taken_for_cameras() -> None:
    """Nodes of codecs and metadata have names like cameras."""
    assert is_camera(DEVICE)
    assert not is_camera("/dev/null")
    with pytest.raises(CameraError, match="is not a camera"):
        open_camera(camera_spec("/dev/null"))


def test_the_daemon_goes_on_through_an_unplugged_camera(tmp_path: Path) -> None:
    """It logs that once, opens the camera again when it is back, and ends well on SIGTERM."""
    gc.collect()
    log = tmp_path / "log"
    config = tmp_path / "edge.toml"
    config.write_text(f'[camera]\nsource = "{DEVICE}"\nfps = 10\n[log]\nlevel = "debug"\n')
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "edge", "run", "--config", config], stderr=output
        )

    def wait_for(text: str) -> None:
        until = time.monotonic() + 2 * WAIT_S
        while text not in log.read_text():
            assert time.monotonic() < until, log.read_text()
            assert daemon.poll() is None, log.read_text()
            time.sleep(0.1)

    try:
        wait_for("ready after")
        (DRIVER / "unbind").write_text("vivid.0")
        wait_for(f"camera: {DEVICE}: has gone")
        wait_for(f"not yet: {DEVICE}: is not there")
        (DRIVER / "bind").write_text("vivid.0")
        wait_for("camera is back after")
        daemon.terminate()
        assert daemon.wait(WAIT_S) == 0
    finally:
        daemon.kill()
        daemon.wait()
        if not is_camera(DEVICE):
            (DRIVER / "bind").write_text("vivid.0")
    assert log.read_text().count("has gone") == 1
    assert "Traceback" not in log.read_text()
