"""A folder as a camera, while pictures come, change and go."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.camera import open_camera
from edge.camera.images import IDLE_S, REPORTED, ImagesCamera
from edge.errors import CameraError
from edge.frames import Camera, EndOfSource
from edge.pictures import picture
from edge.pictures.read import read_pixels
from tests.bombs import BOMBS, LARGE, encoded
from tests.conftest import WAIT_S, Daemon, edge
from tests.specs import camera_spec

OLD_S = 1_600_000_000


def folder(path: Path, **changes: object) -> Camera:
    """Open a folder, every frame at once by default."""
    settings: dict[str, object] = {"pace": "fast", "loop": True, "fps": 200.0} | changes
    return open_camera(camera_spec(path, **settings))


def put(path: Path, level: int = 100) -> Path:
    """Write a small picture of one brightness."""
    path.write_bytes(encoded(".png", np.full((8, 8, 3), level, np.uint8)))
    return path


def level_of(camera: Camera) -> int:
    """Return the brightness of the next picture; fail after ``WAIT_S``."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        frame = camera.read(0.2)
        if frame is not None:
            return round(float(frame.pixels.mean()))
    raise AssertionError("no picture")


def levels(camera: Camera, count: int) -> list[int]:
    """Return the brightness of each of the next pictures."""
    return [level_of(camera) for _ in range(count)]


def test_what_is_not_a_file_is_skipped_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A pipe, a socket, a folder, a device, a dangling link, 30 GB of holes: each with a reason."""
    put(tmp_path / "z.png")
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.png").mkdir()
    (tmp_path / "c.png").symlink_to("/dev/zero")
    (tmp_path / "d.png").symlink_to("nothing")
    with (tmp_path / "e.bmp").open("wb") as sparse:
        sparse.truncate(30_000_000_000)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "f.png"))
        camera = folder(tmp_path)
        assert levels(camera, 3) == [100] * 3
    assert camera.corrupt_total == 6
    reported = [record.getMessage() for record in caplog.records]
    reasons = (
        "a.jpg: is a named pipe",
        "b.png: is a folder",
        "c.png: is a device",
        "d.png: no such",
    )
    for line, reason in zip(reported, (*reasons, "e.bmp: is too large"), strict=True):
        assert reason in line


def test_the_limits_are_the_configs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A picture with too many pixels or bytes is refused, with the number."""
    put(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(encoded(".png", np.zeros((200, 200, 3), np.uint8)))
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)
    (tmp_path / "c.png").write_bytes(encoded(".png", noise))
    camera = folder(tmp_path, max_pixels=20_000, max_bytes=5_000)
    assert levels(camera, 3) == [100] * 3
    assert camera.corrupt_total == 2
    assert "200x200 pixels: expected at most 20000 (camera.max_pixels)" in caplog.text
    assert "is too large: expected at most 5000 bytes" in caplog.text


def test_thousands_of_unreadable_pictures_are_some_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every read ends in time; the first are reported, then their number; decoders are silent."""
    bad = encoded(".jpg")[:-300] + b"\xff\xd9", encoded(".png")[:60]
    for index in range(2000):
        (tmp_path / f"{index:04}.{('jpg', 'png')[index % 2]}").write_bytes(bad[index % 2])
    put(tmp_path / "z.png")
    camera = folder(tmp_path)
    waited = 0
    while camera.read(0.0) is None:
        waited += 1
    assert waited == 2000  # one at a time where there is no time
    assert levels(camera, 2) == [100] * 2
    assert camera.corrupt_total == 2000
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == REPORTED + 3
    assert "1000 pictures cannot be read, the last of them 0999.png: not a" in lines[-1]
    assert capfd.readouterr().err == ""


def test_a_half_written_picture_is_tried_again(tmp_path: Path) -> None:
    """It comes when it is whole, and does not count as corrupt."""
    put(tmp_path / "a.png", 50)
    whole = encoded(".png", np.full((8, 8, 3), 150, np.uint8))
    (tmp_path / "b.png").write_bytes(whole[:60])
    camera = folder(tmp_path, pace="realtime")
    assert levels(camera, 4) == [50] * 4
    (tmp_path / "b.png").write_bytes(whole)
    assert 150 in levels(camera, 3)
    assert camera.corrupt_total == 0


def test_a_picture_that_stays_unreadable_is_corrupt(tmp_path: Path) -> None:
    """Once it is old; and readable again after it was replaced."""
    put(tmp_path / "a.png", 50)
    broken = tmp_path / "b.png"
    broken.write_bytes(encoded(".png")[:60])
    camera = folder(tmp_path, pace="realtime")
    assert (levels(camera, 4), camera.corrupt_total) == ([50] * 4, 0)
    os.utime(broken, (OLD_S, OLD_S))
    assert (levels(camera, 4), camera.corrupt_total) == ([50] * 4, 1)
    assert (levels(camera, 4), camera.corrupt_total) == ([50] * 4, 1)
    put(tmp_path / "b.new", 150).rename(broken)
    camera._look_again = True  # type: ignore[attr-defined]  # which comes by itself, later
    assert 150 in levels(camera, 4)


def test_a_pass_waits_for_a_picture_that_is_being_written(tmp_path: Path) -> None:
    """Without `loop`, each comes once, the late one last."""
    put(tmp_path / "b.png", 100)
    whole = encoded(".png", np.full((8, 8, 3), 50, np.uint8))
    (tmp_path / "a.png").write_bytes(whole[:60])
    camera = folder(tmp_path, pace="realtime", loop=False)
    assert level_of(camera) == 100
    assert camera.read(0.0) is None
    (tmp_path / "a.png").write_bytes(whole)
    put(tmp_path / "c.png", 150)  # which was not there
    assert level_of(camera) == 50
    with pytest.raises(EndOfSource):
        levels(camera, 1)
    assert camera.corrupt_total == 0


def test_pictures_that_come_and_go_are_noticed(tmp_path: Path) -> None:
    """In the order of their names; what has gone is not corrupt, an empty folder is waited for."""
    for index in (1, 3):
        put(tmp_path / f"{index}.png", 10 * index)
    camera = folder(tmp_path)
    assert levels(camera, 3) == [10, 30, 10]
    put(tmp_path / "2.png", 20)
    while level_of(camera) != 20:
        pass
    assert levels(camera, 4) == [30, 10, 20, 30]
    (tmp_path / "3.png").unlink()
    (tmp_path / "1.png").unlink()
    assert levels(camera, 2) == [20, 20]
    (tmp_path / "2.png").unlink()
    assert camera.read(IDLE_S) is None
    put(tmp_path / "0.png", 5)
    assert levels(camera, 2) == [5, 5]
    assert camera.corrupt_total == 0


def test_a_folder_that_has_gone_is_one_error_line(tmp_path: Path) -> None:
    """With the reason `gone`."""
    place = tmp_path / "pictures"
    place.mkdir()
    put(place / "a.png")
    camera = folder(place)
    assert level_of(camera) == 100
    (place / "a.png").unlink()
    place.rmdir()
    with pytest.raises(CameraError, match="cannot be read any more") as caught:
        level_of(camera)
    assert caught.value.reason == "gone"


def test_a_large_folder_takes_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only names are kept, and at most a limited number."""
    from edge.camera import folder as folders

    monkeypatch.setattr(folders, "MOST", 50)
    for index in range(60):
        put(tmp_path / f"{index:02}.png")
    camera = folder(tmp_path)
    assert isinstance(camera, ImagesCamera)
    assert len(camera._folder.names) == 50
    assert all(type(name) is str for name in camera._folder.names)


def own(stderr: str) -> list[str]:
    """Return the lines that are not TFLite's."""
    return [line for line in stderr.splitlines() if not line.startswith("INFO: ")]


def peak_bytes(running: Daemon) -> int:
    """Return the most memory that the daemon has had."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def test_bombs_cost_the_daemon_no_memory(
    daemon: Callable[..., Daemon], tmp_path: Path, rgb: Path
) -> None:
    """Nor does a JPEG of 64 megapixels cost more than 100 MB."""
    peaks = []
    large = {name: LARGE[name] for name in LARGE if name in ("half.jpg", "limit.png", "limit.bmp")}
    # of what can be decoded one alone: it is still held while the next one is
    for name, bombs in (("usual", {}), ("bombs", BOMBS | large)):
        place = tmp_path / name
        place.mkdir()
        for bomb, content in bombs.items():
            (place / bomb).write_bytes(content)
        put(place / "zz.png")
        arguments = ("--source", place, "--model", rgb, "--broker", "127.0.0.1:1")
        running = daemon(*arguments, config='[camera]\npace = "fast"\n')
        running.wait_for_log("ready after")
        if bombs:
            running.wait_for_log("10 pictures cannot be read")
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            assert running.process.poll() is None
            time.sleep(0.05)
        peaks.append(peak_bytes(running))
        assert running.stop() == 0
    print(peaks)
    assert peaks[1] - peaks[0] < 100_000_000


def test_a_pipe_does_not_delay_the_end(
    daemon: Callable[..., Daemon], tmp_path: Path, rgb: Path
) -> None:
    """SIGTERM works with a named pipe among the pictures."""
    place = tmp_path / "pictures"
    place.mkdir()
    os.mkfifo(place / "b.jpg")
    put(place / "c.png")
    running = daemon("--source", place, "--model", rgb, "--broker", "127.0.0.1:1")
    running.wait_for_log("is a named pipe")
    assert running.stop(signal.SIGTERM) == 0


def test_an_empty_folder_is_waited_for_where_the_camera_is_not_required(
    daemon: Callable[..., Daemon], tmp_path: Path, rgb: Path
) -> None:
    """The first uploaded picture starts it."""
    place = tmp_path / "uploads"
    place.mkdir()
    arguments = ("--source", place, "--model", rgb, "--broker", "127.0.0.1:1")
    running = daemon(*arguments, config="[camera]\nrequired = false\n")
    running.wait_for_log("no pictures")
    put(place / "first.png", 200)
    running.wait_for_log("camera is back")
    assert running.stop() == 0


def test_classify_reports_bad_files_and_goes_on(tmp_path: Path, rgb: Path) -> None:
    """Bombs, pipes and names with escape codes: a line each; the other files are classified."""
    names = ["strip.tif", "square.webp", "progressive.jpg"]
    for name in names:
        (tmp_path / name).write_bytes(BOMBS[name])
    odd = tmp_path / "a\x1b[31m\n.png"
    odd.write_bytes(b"text")
    os.mkfifo(tmp_path / "pipe.png")
    good = put(tmp_path / os.fsdecode(b"\xe9\x1b.png"))
    paths = [*(tmp_path / name for name in names), odd, tmp_path / "pipe.png", good]
    done = edge("classify", "--model", rgb, *paths)
    assert done.returncode == 1
    lines = own(done.stderr)
    assert len(lines) == 5
    assert (
        "strip.tif: 22000x22000 pixels: expected at most 16000000 (camera.max_pixels)" in lines[0]
    )
    assert "square.webp: 16383x16383 pixels: expected at most 16000000" in lines[1]
    assert "progressive.jpg: 7900x7900 pixels need" in lines[2]
    assert r"a\x1b[31m\n.png: not a picture" in lines[3]
    assert "pipe.png: is a named pipe" in lines[4]
    assert r"/\udce9\x1b.png: " in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_a_golden_picture_has_the_same_limits(tmp_path: Path, rgb: Path) -> None:
    """It is refused by its header, in one line; status 78."""
    (rgb / "golden.tif").write_bytes(BOMBS["strip.tif"])
    with (rgb / "model.toml").open("a") as card:
        card.write('[golden]\npicture = "golden.tif"\nscores = [1, 0, 0]\n')
    done = edge("classify", "--model", rgb, tmp_path / "none.png")
    assert done.returncode == 78
    assert "golden.tif: the golden picture cannot be used: 22000x22000 pixels" in done.stderr
    assert len(own(done.stderr)) == 1


def test_a_jpeg_in_a_file_needs_no_end_marker(tmp_path: Path) -> None:
    """Zeros after it do no harm; cut short, the picture is corrupt."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    whole = encoded(".jpg", pixels)
    expected = np.asarray(cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR))
    for name, content in (("a", whole[:-2]), ("b", whole + bytes(20_000)), ("c", whole[:-1])):
        (tmp_path / f"{name}.jpg").write_bytes(content)
        assert np.array_equal(read_pixels(tmp_path / f"{name}.jpg"), expected)
    for content in (whole[: len(whole) // 2], whole[: len(whole) // 2] + bytes(20_000)):
        (tmp_path / "d.jpg").write_bytes(content)
        with pytest.raises(picture.Unreadable):
            read_pixels(tmp_path / "d.jpg")
