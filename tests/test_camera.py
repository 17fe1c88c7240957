"""Every source that needs no hardware: pace, order, gaps, faults, colours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.camera import open_camera, video
from edge.camera.pace import Pace
from edge.errors import CameraError
from edge.frames import Camera, EndOfSource
from tests.specs import camera_spec

FRAMES = 45
FPS = 15.0


def open_source(source: str | Path, **changes: object) -> Camera:
    """Open a source as fast as it goes, to its end."""
    settings: dict[str, object] = {"width": 320, "height": 240, "pace": "fast", "loop": False}
    settings |= {"stall_timeout_s": 5.0} | changes
    return open_camera(camera_spec(source, **settings))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of 45 frames, each of a brightness of its own; MPEG-4, every 12th a key frame."""
    return film(tmp_path_factory.mktemp("clip") / "clip.mp4", "mp4v")


def film(path: Path, codec: str) -> Path:
    """Write the film as ``path``, with PyPI's OpenCV: the package's own has no encoder."""
    arguments = (str(path), codec, str(FPS), str(FRAMES))
    subprocess.run([sys.executable, "-Ic", WRITER, *arguments], check=True)
    return path


WRITER = """
import sys, cv2, numpy as np
path, codec, fps, frames = sys.argv[1:]
writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*codec), float(fps), (320, 240))
noise = np.random.default_rng(0).integers(0, 60, (240, 320, 3), np.uint8)
for index in range(int(frames)):
    writer.write(np.asarray(np.roll(noise + np.uint8(4 * index), 3 * index, axis=1), np.uint8))
writer.release()
"""


def every(camera: Camera, limit: int = 1000) -> list[tuple[int, float]]:
    """Return sequence and mean brightness of each frame up to the end."""
    frames: list[tuple[int, float]] = []
    try:
        while len(frames) < limit:
            frame = camera.read(1.0)
            if frame is not None:
                frames.append((frame.sequence, float(frame.pixels.mean())))
    except EndOfSource:
        pass
    camera.close()
    return frames


def test_a_film_gives_each_frame_once(clip: Path) -> None:
    """In order, whole, and then the end."""
    camera = open_source(clip)
    assert (camera.mode.width, camera.mode.height, camera.mode.fps) == (320, 240, FPS)
    frames = every(camera)
    assert [sequence for sequence, _ in frames] == list(range(FRAMES))
    brightness = [mean for _, mean in frames]
    assert brightness == sorted(brightness)
    assert camera.corrupt_total == 0


def test_a_film_with_loop_begins_again(clip: Path) -> None:
    """The sequence goes on; the first picture comes again."""
    frames = every(open_source(clip, loop=True), limit=FRAMES + 2)
    assert frames[FRAMES][0] == FRAMES
    assert frames[FRAMES][1] == pytest.approx(frames[0][1], abs=0.5)


def test_a_late_reader_of_a_film_gets_the_current_frame(clip: Path) -> None:
    """In real time, frames whose time has passed are skipped, and the gap is in the sequence."""
    camera = open_source(clip, pace="realtime")
    first = camera.read(1.0)
    assert first is not None
    time.sleep(0.5)  # the slow reader itself, not a way to wait for something
    late = camera.read(1.0)
    camera.close()
    assert late is not None
    assert late.sequence - first.sequence >= 0.5 * FPS - 1
    assert time.monotonic_ns() - late.captured_ns < 1e9


def test_a_film_that_decodes_too_slowly_goes_on_from_where_it_is(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every read ends soon: the frames that are due are not all decoded first."""
    camera = open_source(clip, pace="realtime")
    real = video.VideoCamera._grab
    grabs = []

    def slow(self: video.VideoCamera) -> None:
        time.sleep(4 / FPS)  # four times slower than it plays
        grabs.append(1)
        real(self)

    monkeypatch.setattr(video.VideoCamera, "_grab", slow)
    sequences = []
    for _ in range(4):
        frame = camera.read(0.01)
        if frame is not None:
            sequences.append(frame.sequence)
    camera.close()
    assert len(grabs) == 3  # the first frame was grabbed as it was opened
    assert len(sequences) == 4
    assert np.all(np.diff(sequences) > 1)


def test_corrupt_frames_are_counted_and_skipped(clip: Path, tmp_path: Path) -> None:
    """Bytes destroyed in the middle: the rest still comes, no frame twice."""
    content = bytearray(clip.read_bytes())
    start = content.find(b"mdat") + 4
    end = content.find(b"moov") if content.find(b"moov") > start else len(content)
    third = (end - start) // 3
    content[start + third : start + 2 * third] = bytes(third)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(content)
    camera = open_source(broken)
    frames = every(camera)
    assert camera.corrupt_total > 0
    assert len(frames) >= FRAMES // 3
    assert len(frames) + camera.corrupt_total <= FRAMES + 2


def test_missing_frames_of_a_truncated_film_are_counted(tmp_path: Path) -> None:
    """Its index is at the front and announces more frames than there are."""
    clip = Path(__file__).parent.parent / "deploy" / "demo" / "clip.mp4"
    whole = every(open_source(clip))
    cut = tmp_path / "cut.mp4"
    content = clip.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    camera = open_source(cut)
    frames = every(camera)
    assert 0 < len(frames) < len(whole)
    assert len(frames) + camera.corrupt_total == pytest.approx(len(whole), abs=2)


@pytest.mark.parametrize("content", [b"", b"no film", bytes(5000)])
def test_a_file_that_is_no_film_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    """Refused at once, with the file's name."""
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    with pytest.raises(CameraError, match=r"x\.mp4: not a video that can be decoded"):
        open_source(path)


def test_a_folder_gives_its_pictures_in_order(tmp_path: Path) -> None:
    """Unreadable ones are counted once, in however many passes."""
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((8, 8, 3), 50 * index, np.uint8))
    (tmp_path / "1b.jpg").write_bytes(b"\xff\xd8\xff truncated")
    (tmp_path / "notes.txt").write_text("not a picture")
    camera = open_source(tmp_path, loop=True)
    assert [mean for _, mean in every(camera, limit=7)] == [0, 50, 100, 0, 50, 100, 0]
    assert camera.corrupt_total == 1
    assert len(every(open_source(tmp_path))) == 3


def test_a_slow_reader_of_a_folder_misses_no_picture(tmp_path: Path) -> None:
    """Nothing is skipped, so nothing is missing from the sequence."""
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
    camera = open_source(tmp_path, pace="realtime", loop=True)
    frames = []
    for _ in range(3):
        frame = camera.read(1.0)
        assert frame is not None
        frames.append(frame.sequence)
        time.sleep(0.2)  # the slow reader itself
    assert frames == [0, 1, 2]


def test_a_film_in_memory_is_a_film(clip: Path) -> None:
    """Not everything under /dev is a camera."""
    place = Path("/dev/shm") / f"edge-{os.getpid()}.mp4"
    shutil.copy(clip, place)
    try:
        assert open_source(place).mode.driver == "file"
    finally:
        place.unlink()


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    """An empty one, or one without a readable picture."""
    with pytest.raises(CameraError, match="no pictures"):
        open_source(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"nothing")
    with pytest.raises(CameraError, match="no picture can be read"):
        every(open_source(tmp_path, loop=True))


def test_the_sequence_number_determines_a_synthetic_picture() -> None:
    """One second red, one green, one blue."""
    camera = open_source("synthetic")
    colors = {}
    for _ in range(91):
        frame = camera.read(1.0)
        assert frame is not None
        colors[frame.sequence] = frame.pixels[0, frame.sequence * 4 % 320 - 10].tolist()
    assert (colors[0], colors[29], colors[30]) == ([0, 0, 200], [0, 0, 200], [0, 200, 0])
    assert (colors[60], colors[90]) == ([200, 0, 0], [0, 0, 200])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/dev/video987", "is not there"),
        ("/dev/null", "is not a camera"),
        ("no/such/file.mp4", "no such source"),
        ("picamera2", "picamera2"),
        ("picamera2:x", "camera number"),
    ],
)
def test_a_missing_source_is_refused_in_one_line(source: str, message: str) -> None:
    """It names the source, and lists what a source may be."""
    with pytest.raises(CameraError, match=message) as caught:
        open_source(source)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 74


def test_pace_waits_no_longer_than_its_timeout() -> None:
    """None after the time-out; the frame keeps its number."""
    pace = Pace(fps=2.0, fast=False)
    assert pace.wait(1.0) is not None
    assert pace.wait(0.01) is None
    due = pace.wait(1.0)
    assert due is not None
    assert due[0] == 1
