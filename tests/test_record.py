"""edge record: what the model saw and said, in a file that is whole whatever happens."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.camera.recording import pixels, records, writer
from edge.camera.recording.writer import Writer
from edge.errors import CameraError
from edge.frames import Frame, PixelFormat, View
from edge.model.card import Preprocessing, TensorSpec
from edge.model.preprocess import Preprocessor
from edge.pictures import picture
from tests import recordings
from tests.conftest import ROOT, WAIT_S, edge, wait_until
from tests.loops import tmpfs
from tests.streams import Pictures
from tests.streams import picture as grey

CLIP = ROOT / "deploy" / "demo" / "clip.mp4"
LAYOUTS: tuple[PixelFormat, ...] = ("bgr", "rgb", "gray", "yuyv", "i420", "nv12")
VIEWS = (
    View(),
    View(90, roi=(0.1, 0.2, 0.33, 0.41)),
    View(180, flip_horizontal=True, roi=(0.013, 0.0, 0.5, 0.777)),
    View(270, flip_vertical=True, roi=(0.3, 0.31, 0.69, 0.69)),
)


def recording(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start the command."""
    command = [sys.executable, "-m", "edge", "record", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=-1, stderr=-1)


def frames(path: Path) -> tuple[list[int], bool]:
    """Return the numbers of the frames, every one decoded, and whether the file was closed."""
    found, whole = recordings.frames(path)
    return [frame.sequence for frame in found], whole


def errors(text: str) -> list[str]:
    """Return the lines of stderr, without what TensorFlow Lite says at its start."""
    return [line for line in text.splitlines() if not line.startswith("INFO: ")]


def test_a_recording_is_a_tar_of_pictures_and_records(tmp_path: Path, rgb: Path) -> None:
    """Any archive tool unpacks it; what model and camera were is in it, for its owner alone."""
    path = recordings.recorded(
        tmp_path / "a.edgerec", "--source", CLIP, "--model", rgb, "--max-bytes", "3000000"
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_size <= 3_000_000
    (start,) = recordings.jsons(path, "start")
    assert start["model"]["labels"] == ["red", "green", "blue"]
    assert (start["version"], start["lossless"]) == (1, False)
    assert start["config"]["model"]["path"] == str(rgb)
    (camera,) = recordings.jsons(path, "camera")
    assert (camera["width"], camera["height"], camera["mode"]["driver"]) == (640, 480, "file")
    pictures = [content for name, content in recordings.contents(path) if name.endswith("jpg")]
    for content in pictures:
        assert picture.decode(np.frombuffer(content, np.uint8), 10**6).shape == (480, 640, 3)
    (end,) = recordings.jsons(path, "end")
    assert end == {"kind": "end", "reason": "bytes", "frames": len(pictures), "dropped": 0}
    seen = recordings.jsons(path, "frame")
    assert [record["sequence"] for record in seen] == list(range(len(pictures)))
    assert all(abs(sum(record["scores"]) - 1) < 0.02 for record in seen)
    assert frames(path) == (list(range(len(pictures))), True)


def test_what_the_run_said_is_in_it(tmp_path: Path, rgb: Path) -> None:
    """Label and events as the daemon would have published them: red, green, blue, a second each."""
    path = tmp_path / "a.edgerec"
    done = edge("record", "--source", "synthetic", "--model", rgb, "--seconds", "2.5", path)
    assert done.returncode == 0, done.stderr
    assert "ended: seconds" in done.stdout
    events = [record["event"] for record in recordings.jsons(path, "event")]
    assert [(event["type"], event["before"], event["after"]) for event in events] == [
        ("label_changed", None, "red"),
        ("label_changed", "red", "green"),
        ("label_changed", "green", "blue"),
    ]
    labels = {record["sequence"]: record["label"] for record in recordings.jsons(path, "frame")}
    for event in events:
        assert labels[event["evidence"]["frame"]] == event["after"]


def scene(layout: PixelFormat) -> NDArray[np.uint8]:
    """Return a picture of 96 x 64 pixels with detail everywhere."""
    noise = np.random.default_rng(7).integers(0, 256, (64, 96, 3), np.uint8)
    bgr = np.asarray(cv2.GaussianBlur(noise, (5, 5), 0), np.uint8)
    flat = np.random.default_rng(8).integers(0, 256, 64 * 96 * 2, np.uint8)
    match layout:
        case "bgr" | "rgb":
            return bgr
        case "gray":
            return np.ascontiguousarray(bgr[:, :, 0])
        case "yuyv":
            return flat.reshape(64, 96, 2)
    return flat[: 96 * 96].reshape(96, 96)


@pytest.mark.parametrize("view", VIEWS, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_lossless_gives_the_same_tensor(layout: PixelFormat, view: View) -> None:
    """In every layout, turned and cut: the model gets the same bytes again."""
    frame = Frame(3, 4, scene(layout), layout, view)
    part = pixels.part(frame)
    kind, content = pixels.encode(part.pixels, part.format, lossless=True)
    stored = pixels.stored(part, lossless=True)
    again = pixels.decode(content, kind, stored, (part.width, part.height), 10**6)
    replayed = Frame(3, 4, again, stored, part.view)
    for side in (16, 24, 31):
        tensor = TensorSpec((1, side, side, 3), np.dtype(np.uint8), 1.0, 0)
        before, after = np.empty((2, *tensor.shape), np.uint8)
        preprocess = Preprocessor(Preprocessing(), tensor)
        preprocess(frame, before)
        preprocess(replayed, after)
        assert np.array_equal(before, after), f"{layout} at {side}"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_what_is_classified_is_kept(layout: PixelFormat) -> None:
    """What lies outside the region is nobody's business: two pixels at most, with their colour."""
    frame = Frame(0, 0, scene(layout), layout, View(roi=(0.25, 0.5, 0.5, 0.25)))
    part = pixels.part(frame)
    assert 48 <= part.width <= 50
    assert 16 <= part.height <= 18
    whole = pixels.part(Frame(0, 0, scene(layout), layout))
    assert part.pixels.size < whole.pixels.size / 6


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_jpeg_is_near_the_picture(layout: PixelFormat) -> None:
    """Of whatever layout: the colours stay."""
    flat = Frame(0, 0, scene(layout), layout)
    flat.pixels[...] = 90
    part = pixels.part(flat)
    kind, content = pixels.encode(part.pixels, part.format, lossless=False)
    stored = pixels.stored(part, lossless=False)
    assert kind == "jpg"
    assert stored == ("gray" if layout == "gray" else "bgr")
    again = pixels.decode(content, kind, stored, (part.width, part.height), 10**6)
    expected = {"yuyv": cv2.COLOR_YUV2BGR_YUYV, "i420": cv2.COLOR_YUV2BGR_I420}
    expected["nv12"] = cv2.COLOR_YUV2BGR_NV12
    code = expected.get(layout)
    reference = flat.pixels if code is None else np.asarray(cv2.cvtColor(flat.pixels, code))
    assert int(np.abs(again.astype(int) - reference.astype(int)).max()) <= 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_it(tmp_path: Path, rgb: Path, number: signal.Signals) -> None:
    """Ctrl-C is the usual way to end a recording: whole, status 0."""
    path = tmp_path / "a.edgerec"
    running = recording("--source", "synthetic", "--model", rgb, path)
    wait_until(lambda: path.exists() and path.stat().st_size > 50_000)
    running.send_signal(number)
    out, err = running.communicate(timeout=WAIT_S)
    assert (running.returncode, "ended: stopped" in out) == (0, True), err
    numbers, whole = frames(path)
    assert whole
    assert numbers


@pytest.mark.parametrize("size", [10_000, 60_000, 200_000, 500_000])
def test_sigkill_leaves_every_frame_but_the_last(tmp_path: Path, rgb: Path, size: int) -> None:
    """At any instant; the file ends with its last whole frame."""
    path = tmp_path / "a.edgerec"
    running = recording("--source", "synthetic", "--model", rgb, path)
    wait_until(lambda: path.exists() and path.stat().st_size > size, every_s=0.001)
    running.kill()
    running.communicate(timeout=WAIT_S)
    numbers, whole = frames(path)
    assert not whole
    assert numbers == sorted(numbers)
    assert len(numbers) >= size // 20_000
    done = edge("replay", "--model", rgb, path)
    assert done.returncode == 0, done.stderr
    assert f"was cut after {len(numbers)} frames" in done.stderr


def small(path: Path, writes: int = 6, **options: int) -> tuple[Writer, list[str | None]]:
    """Write frames; return the writer, open, and what each call has returned."""
    made = Writer(path, recordings.start(), options.pop("max_bytes", 10**6), **options)
    answers: list[str | None] = [made.add(recordings.source(), 10**9)]
    for number in range(writes if answers[0] is None else 0):
        answers.append(made.add(recordings.seen(number), 10**9, ("png", recordings.png())))
        if answers[-1]:
            break
    return made, answers


def end(frames: int) -> records.End:
    """Return the last record."""
    return records.End(reason="disk", frames=frames, dropped=0)


@pytest.mark.parametrize("failing", range(1, 9))
@pytest.mark.parametrize("taken", [0, 1, 700])
def test_a_full_disk_leaves_a_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, taken: int
) -> None:
    """Whichever write fails, after however many bytes: what was written before is closed."""
    calls, write = 0, os.write

    def full(file: int, content: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == failing and taken:
            return write(file, content[:taken])
        if calls in (failing, failing + 1):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, content)

    monkeypatch.setattr(os, "write", full)
    path = tmp_path / "a.edgerec"
    if failing == 1:
        with pytest.raises(CameraError, match="the disk is nearly full"):
            small(path)
        assert not path.exists()
        return
    made, answers = small(path)
    assert answers[-1] == "disk"
    monkeypatch.setattr(os, "write", write)
    written = failing - 3 if failing > 2 else 0
    made.close(end(written), 10**9)
    assert frames(path) == (list(range(written)), True)


def test_space_is_left_on_the_disk(tmp_path: Path, rgb: Path) -> None:
    """It is not the recording's alone: status 74, one line, and the file is whole."""
    with tmpfs(tmp_path / "disk", "33m") as disk:
        path = disk / "a.edgerec"
        done = edge("record", "--source", CLIP, "--model", rgb, path)
        assert done.returncode == 74, done.stderr
        assert "the disk is nearly full: ended after" in done.stderr
        numbers, whole = frames(path)
        assert whole
        assert f"after {len(numbers)} frames" in done.stderr
        left = os.statvfs(disk)
        assert left.f_bavail * left.f_frsize > writer.FREE_BYTES - 200_000
        other = edge("record", "--source", CLIP, "--model", rgb, disk / "b.edgerec")
        assert other.returncode == 0 or not (disk / "b.edgerec").exists()


def test_the_limit_on_bytes_holds(tmp_path: Path) -> None:
    """The end is within it, too."""
    for limit in range(6_144, 14_000, 512):
        path = tmp_path / f"{limit}.edgerec"
        made, answers = small(path, writes=20, max_bytes=limit)
        assert answers[-1] == "bytes"
        made.close(end(len(answers) - 2), 10**9)
        assert path.stat().st_size <= limit
        assert frames(path)[1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("taken.edgerec", "exists already"),
        ("a.tar", "not a recording's name"),
        ("none/a.edgerec", "cannot be written: No such file or directory"),
        ("link.edgerec", "exists already"),
    ],
)
def test_a_file_that_cannot_be_made_is_one_line(
    tmp_path: Path, rgb: Path, name: str, message: str
) -> None:
    """Before a frame is taken; a link leads nowhere, and nothing is overwritten."""
    (tmp_path / "taken.edgerec").write_text("mine")
    (tmp_path / "link.edgerec").symlink_to(tmp_path / "elsewhere")
    done = edge("record", "--source", "synthetic", "--model", rgb, tmp_path / name)
    assert done.returncode == 74
    (line,) = errors(done.stderr)
    assert message in line
    assert (tmp_path / "taken.edgerec").read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


def test_a_camera_that_is_not_there_leaves_no_file(tmp_path: Path, rgb: Path) -> None:
    """One line, status 74."""
    path = tmp_path / "a.edgerec"
    done = edge("record", "--source", tmp_path / "none.mp4", "--model", rgb, path)
    assert done.returncode == 74
    (line,) = errors(done.stderr)
    assert "no such source" in line
    assert not path.exists()


def test_an_outage_is_in_the_recording(tmp_path: Path, rgb: Path) -> None:
    """Its events, and that the window began again; no password."""
    path, config = tmp_path / "a.edgerec", tmp_path / "edge.toml"
    server = Pictures([grey(90)] * 40)  # then it closes the connection
    url = server.url.replace("http://", "http://user:secret@")
    config.write_text(f'[camera]\nsource = "{url}"\n')
    running = recording("--config", config, "--model", rgb, path)
    with contextlib.ExitStack() as stack:
        stack.callback(server.close)
        stack.callback(running.kill)
        wait_until(lambda: path.exists() and b'"gap"' in path.read_bytes())
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=WAIT_S)
        assert running.returncode == 0
    types = [record["event"]["type"] for record in recordings.jsons(path, "event")]
    assert [kind for kind in types if kind.startswith("camera")][:2] == [
        "camera_lost",
        "camera_recovered",
    ]
    assert b"secret" not in path.read_bytes()


def test_a_slow_disk_costs_frames_of_the_camera_not_of_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorder waits with its caller; every frame that it was given is written."""
    from edge.cli.recorder import BUFFERS, Recorder

    path = tmp_path / "a.edgerec"
    made = Writer(path, recordings.start(), 10**7)
    made.add(recordings.source(), 10**9)
    write, held = made.add, 0

    def slowly(*arguments: object) -> object:
        nonlocal held
        time.sleep(0.005)  # the slow disk itself
        held += 1
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(made, "add", slowly)
    recorder = Recorder(made, lossless=True)
    for number in range(30):
        part = pixels.part(Frame(number, 0, np.full((12, 16, 3), number, np.uint8), "bgr"))
        recorder.frame(recordings.seen(number), part)
        assert number + 1 - held <= BUFFERS + 1
    recorder.finish()
    made.close(records.End(reason="stopped", frames=30, dropped=0), 10**9)
    read, _ = recordings.frames(path)
    assert [int(frame.pixels[0, 0, 0]) for frame in read] == list(range(30))
