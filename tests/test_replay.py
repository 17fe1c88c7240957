"""edge replay: the same again, another model, a gate; hostile recordings are one line."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.broker import PrivateBroker
from edge.camera.recorded import RecordedCamera
from edge.camera.recording import records
from edge.camera.recording.archive import Kind
from edge.camera.recording.reader import Reader
from edge.cli.compare import Comparer, Comparison, Pair, Side
from edge.cli.judge import Opinion
from edge.config import SmoothingConfig
from edge.errors import CameraError
from edge.frames import EndOfSource, Frame, View
from tests import bombs, recordings
from tests.conftest import ROOT, Daemon, Listener, edge, model_folder
from tests.specs import camera_spec
from tests.test_record import errors

Parts = list[records.Record | tuple[Kind, bytes]]
CLIP = ROOT / "deploy" / "demo" / "clip.mp4"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beginning of the demo clip, as the shipped model saw it."""
    folder = tmp_path_factory.mktemp("recording")
    limit = ("--max-bytes", "25000000")
    return recordings.recorded(folder / "clip.edgerec", "--source", CLIP, *limit)


@pytest.fixture(scope="module")
def lossless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beginning of the demo clip, every pixel as it was."""
    path = tmp_path_factory.mktemp("recording") / "lossless.edgerec"
    limit = ("--max-bytes", "30000000", "--lossless")
    return recordings.recorded(path, "--source", CLIP, *limit)


@pytest.mark.parametrize("options", [[], ["--json"], ["--compare"], ["--compare", "--json"]])
def test_the_same_file_gives_the_same_bytes(clip: Path, options: list[str]) -> None:
    """No clock, no random number: also at another speed."""
    first = edge("replay", *options, "--allow", "9", clip)
    second = edge("replay", *options, "--allow", "9", "--threads", "1", clip)
    assert first.returncode == second.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert first.stdout


def key(event: dict[str, Any]) -> tuple[object, ...]:
    """Return what an event says, without its number and the name of the run."""
    return (event["before"], event["after"], event["evidence"]["frame"])


def test_a_replay_says_what_the_recording_said(lossless: Path) -> None:
    """Every change of the label, at the same frame, with the time in the recording."""
    done = edge("replay", "--json", lossless)
    *lines, summary = map(json.loads, done.stdout.splitlines())
    told = [record["event"] for record in recordings.jsons(lossless, "event")]
    assert [key(line["event"]) for line in lines] == [key(event) for event in told]
    assert len(told) >= 2
    seen = {record["sequence"]: record for record in recordings.jsons(lossless, "frame")}
    first_ns = seen[0]["captured_ns"]
    for line in lines:
        captured_ns = seen[line["event"]["evidence"]["frame"]]["captured_ns"]
        assert line["at_s"] == pytest.approx((captured_ns - first_ns) / 1e9, abs=0.001)
    assert summary["frames"] == len(seen)
    assert sum(summary["labels"].values()) + summary["uncertain"] == len(seen)


def test_a_jpeg_moves_a_change_by_a_frame_or_two(clip: Path) -> None:
    """Near a threshold; the changes themselves are the same."""
    done = edge("replay", "--json", clip)
    *lines, _ = map(json.loads, done.stdout.splitlines())
    told = [record["event"] for record in recordings.jsons(clip, "event")]
    assert [key(line["event"])[:2] for line in lines] == [key(event)[:2] for event in told]
    for line, event in zip(lines, told, strict=True):
        assert abs(line["event"]["evidence"]["frame"] - event["evidence"]["frame"]) <= 2


def test_lossless_gives_every_score_again(lossless: Path) -> None:
    """To the last bit, by another process."""
    (found,) = map(json.loads, edge("replay", "--compare", "--json", lossless).stdout.splitlines())
    assert found["frames"] > 20
    assert (found["differ"], found["best_agree"], found["score_difference"]) == (0, 1.0, 0.0)


def test_another_config_counts(clip: Path, tmp_path: Path) -> None:
    """Without one the recording's own smoothing does; with one, that of the file."""
    config = tmp_path / "edge.toml"
    config.write_text("[smoothing]\nwindow = 30\nhold_frames = 10\n")
    same = edge("replay", "--compare", "--allow", "9", clip)
    other = edge("replay", "--compare", "--config", config, clip)
    assert (same.returncode, other.returncode) == (0, 1)
    assert "frames differ: expected at most 0" in other.stderr
    (found,) = map(
        json.loads,
        edge("replay", "--compare", "--json", "--config", config, clip).stdout.splitlines(),
    )
    assert (found["a"], found["b"]) == ("recording", "catdog")
    assert 0 < found["differ"] < found["frames"]
    assert found["best_agree"] > 0.99, "before smoothing nothing differs but by JPEG"
    assert sum(span["frames"] for span in found["differences"]) == found["differ"]
    enough = str(found["differ"])
    assert edge("replay", "--compare", "--config", config, "--allow", enough, clip).returncode == 0
    fewer = str(found["differ"] - 1)
    assert edge("replay", "--compare", "--config", config, "--allow", fewer, clip).returncode == 1


def test_two_models_are_compared_with_each_other(clip: Path) -> None:
    """Another input size makes no difference to the recording."""
    done = edge(
        *("replay", "--model", "catdog", "--model", "catdog-large", "--threads", "1"),
        *("--compare", "--json", clip),
    )
    (found,) = map(json.loads, done.stdout.splitlines())
    assert (found["a"], found["b"]) == ("catdog", "catdog-large")
    assert found["agreement"] > 0.9
    assert sum(pair["frames"] for pair in found["confusion"]) == found["frames"]
    assert done.returncode == (1 if found["differ"] else 0)


@pytest.fixture
def colors(tmp_path: Path, rgb: Path) -> Path:
    """A recording of the synthetic camera: red, green, blue, a second each."""
    return recordings.recorded(
        *(tmp_path / "colors.edgerec", "--source", "synthetic", "--model", rgb),
        *("--max-bytes", "600000"),
        config="width = 64\nheight = 48\n",
    )


def test_what_differs_is_listed(colors: Path, tmp_path: Path, rgb: Path) -> None:
    """A model whose labels are permuted: the pairs, the frames, the times, the changes."""
    other = model_folder(tmp_path / "other", labels='["green", "red", "blue"]')
    done = edge("replay", "--model", rgb, "--model", other, "--compare", colors)
    assert done.returncode == 1
    assert "red, green   <-" in done.stdout
    assert "blue, blue\n" in done.stdout
    assert "differences:" in done.stdout
    assert f"  {other}: (uncertain) -> green" in done.stdout


def test_several_models_without_a_comparison(colors: Path, tmp_path: Path, rgb: Path) -> None:
    """Each says its own; each frame is classified once by each."""
    other = model_folder(tmp_path / "other", labels='["green", "red", "blue"]')
    done = edge("replay", "--model", rgb, "--model", other, "--json", colors)
    lines = list(map(json.loads, done.stdout.splitlines()))
    first, second = (line for line in lines if "frames" in line)
    assert first["frames"] == second["frames"] == len(recordings.jsons(colors, "frame"))
    assert first["labels"]["red"] == second["labels"]["green"]
    again = edge("replay", "--model", rgb, "--model", rgb, colors)
    assert again.returncode == 2
    assert "the same --model twice" in again.stderr


def test_a_model_that_is_none_is_one_line(clip: Path) -> None:
    """As for every command: status 78."""
    done = edge("replay", "--model", "none-such", clip)
    assert done.returncode == 78
    assert len(errors(done.stderr)) == 1


def test_a_gap_begins_the_window_again(tmp_path: Path, rgb: Path) -> None:
    """As it did when the camera was away."""
    frames: Parts = []
    for number in range(40):
        if number == 20:
            frames.append(records.Gap())
        color = (0, 0, 200) if number < 20 else (0, 200, 0)
        frames += [recordings.seen(number), ("png", recordings.png(color))]
    whole = [recordings.start(), recordings.source(), *frames]
    plain = [part for part in whole if not isinstance(part, records.Gap)]
    changes = []
    for parts in (whole, plain):
        path = tmp_path / "a.edgerec"
        path.write_bytes(recordings.tar([*parts, end(40)]))
        done = edge("replay", "--json", "--model", rgb, path)
        lines = list(map(json.loads, done.stdout.splitlines()))
        changes.append([line["event"]["evidence"]["frame"] for line in lines if "event" in line])
    assert changes == [[11, 31], [11, 28]]


def end(frames: int) -> records.End:
    """Return the last record."""
    return records.End(reason="seconds", frames=frames, dropped=0)


def said(label: str | None, *scores: float) -> Opinion:
    """Return an opinion; without scores the frame was invalid."""
    return Opinion(label, 1.0, False, scores or None)


def test_a_comparison_by_hand() -> None:
    """Spans of frames, pairs, changes at the same frame and of one alone."""
    labels = ("red", "green")
    comparer = Comparer(Side("old", labels), Side("new", labels))
    red, green = said("red", 0.75, 0.25), said("green", 0.25, 0.75)
    for number, (a, b) in enumerate(
        [(red, red), (red, green), (red, green), (red, red), (said("red"), red), (green, green)]
    ):
        comparer.add(10 * number, float(number), a, b)
    found = comparer.result()
    assert (found.frames, found.differ, found.agreement) == (6, 3, 0.5)
    assert [(span.first, span.last, span.frames) for span in found.differences] == [
        (10, 20, 2),
        (40, 40, 1),
    ]
    assert found.confusion == (
        Pair(a="red", b="red", frames=3),
        Pair(a="red", b="green", frames=2),
        Pair(a="green", b="green", frames=1),
    )
    assert (found.changes_both, found.changes_a, found.changes_b) == (2, 0, 2)
    assert [(change.side, change.frame) for change in found.changes] == [("b", 10), ("b", 30)]
    assert found.changes_near == 0
    assert (found.best_agree, found.score_difference) == (0.6, 0.5)


@pytest.mark.parametrize(("frames_apart", "near"), [(1, True), (10, True), (11, False)])
def test_the_same_change_a_little_later_is_one(frames_apart: int, near: bool) -> None:
    """Within a second; further apart it is two, one of each side."""
    comparer = Comparer(Side("old", ("red",)), Side("new", ("red",)))
    for number in range(30):
        old, new = number >= 5, number >= 5 + frames_apart
        opinions = (said("red" if red else None, 1.0) for red in (old, new))
        comparer.add(number, number / 10, *opinions)
    found = comparer.result()
    assert (found.changes_both, found.differ) == (0, frames_apart)
    alone = (found.changes_near, found.changes_a, found.changes_b)
    assert alone == ((1, 0, 0) if near else (0, 1, 1))


def test_a_cut_file_is_read_to_its_last_whole_frame(tmp_path: Path) -> None:
    """Cut at every byte: a prefix of the frames, or one line; never another error."""
    content = recordings.tar(recordings.of(4))
    counts, refused = [], [0]
    path = tmp_path / "a.edgerec"
    for length in range(0, len(content), 37):
        for tail in (b"", bytes(700)):  # zeros, where a power cut lost the data
            path.write_bytes(content[:length] + tail)
            try:
                frames, whole = recordings.frames(path)
            except CameraError:
                refused.append(length)
                continue
            assert not whole or len(frames) == 4
            assert [frame.sequence for frame in frames] == list(range(len(frames)))
            if not tail:
                counts.append(len(frames))
    assert max(refused) < 2048, "the first record"
    assert counts == sorted(counts)
    assert {*counts} == {0, 1, 2, 3, 4}


def swapped(parts: Parts, a: int, b: int) -> Parts:
    """Return the parts, two of them exchanged."""
    parts[a], parts[b] = parts[b], parts[a]
    return parts


def replaced(index: int, *new: records.Record | tuple[Kind, bytes]) -> Parts:
    """Return the parts of a recording, one of them replaced."""
    parts = recordings.of(3)
    parts[index : index + 1] = new
    return parts


def json_of(text: str) -> tuple[Kind, bytes]:
    """Return a JSON member."""
    return "json", text.encode()


HOSTILE: dict[str, tuple[Parts, str]] = {
    "frames in the wrong order": (
        swapped(swapped(recordings.of(3), 2, 4), 3, 5),
        "frame 0 after frame 1",
    ),
    "a time that goes backwards": (
        replaced(4, recordings.seen(1, captured_ns=1)),
        "the time of frame 1 is before that of the last one",
    ),
    "a frame twice": (replaced(4, recordings.seen(0)), "frame 0 after frame 0"),
    "a frame before its camera": (replaced(1), "a frame before its camera"),
    "a frame without its picture": (replaced(3), "a frame without its picture"),
    "a picture without its frame": (replaced(2), "a picture without its frame"),
    "two beginnings": (replaced(2, recordings.start(), recordings.seen(0)), "a second beginning"),
    "no beginning": (replaced(0), "does not begin as one"),
    "frames that are missing": (recordings.of(3)[:4] + [end(3)], "1 frames: expected 3"),
    "too few scores": (replaced(4, recordings.seen(1, scores=(1.0,))), "1 scores: expected 3"),
    "a label of no model": (replaced(4, recordings.seen(1, label="\x1b[2J")), r"label '\x1b[2J'"),
    "a bomb": (replaced(5, ("png", bombs.png(30_000, 30_000))), "30000x30000 pixels: expected"),
    "a bomb that is announced": (
        [
            recordings.start(),
            recordings.source(width=30_000, height=30_000),
            recordings.seen(0),
            ("png", bombs.png(30_000, 30_000)),
            end(1),
        ],
        "30000x30000 pixels: expected at most 16000000",
    ),
    "a picture of another size": (
        replaced(5, ("png", recordings.png(width=18))),
        "18x12 pixels: expected 16x12",
    ),
    "a picture of another kind": (replaced(5, ("jpg", recordings.png())), "of the kind jpg"),
    "rubbish instead of a picture": (replaced(5, ("png", b"x" * 99)), "not a picture"),
    "odd planes": (replaced(1, recordings.source("i420", height=13)), "expected even sides"),
    "a picture of rgb": (replaced(1, recordings.source("rgb")), "a recording holds bgr"),
    "a region that is none": (
        replaced(1, recordings.source(view=View(roi=(0.5, 0.0, 0.9, 1e308)))),
        "a region outside the picture",
    ),
    "rubbish instead of a record": (replaced(4, json_of("{")), "not a record: "),
    "an unknown record": (replaced(4, json_of('{"kind": "other"}')), "not a record: "),
    "a number too large": (
        replaced(4, json_of('{"kind":"frame","sequence":1e400,"captured_ns":1,"scores":null}')),
        "not a record: ",
    ),
    "nested a million times": (replaced(4, json_of("[" * 1_000_000)), "not a record: "),
    "a later version": (
        replaced(0, json_of('{"kind": "start", "version": 2}')),
        "version 2: expected 1; a newer edge has made it",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_recording_is_one_line(tmp_path: Path, rgb: Path, what: str) -> None:
    """For the replay, and for the daemon whose camera it is: status 74, no traceback."""
    parts, message = HOSTILE[what]
    path = tmp_path / "a.edgerec"
    path.write_bytes(recordings.tar(parts))
    done = edge("replay", "--model", rgb, path)
    assert done.returncode == 74, done.stdout + done.stderr
    (line,) = errors(done.stderr)
    assert message in line
    assert str(path) in line
    camera_error(path, message)


def camera_error(path: Path, message: str) -> None:
    """Check that the camera raises the same error."""
    with pytest.raises(CameraError) as caught:  # noqa: PT012 - it is raised at any of its calls
        camera = RecordedCamera(path, camera_spec(path, pace="fast", loop=True))
        try:
            for _ in range(10):
                camera.read(1.0)
        finally:
            camera.close()
    assert message in str(caught.value)
    assert caught.value.reason in ("corrupt", "absent")


def member(name: str, content: bytes = b"{}", **changes: Any) -> bytes:
    """Return a member of a tar as others might write it; by GNU's tar, a size may be any number."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    format = tarfile.GNU_FORMAT if "size" in changes else tarfile.USTAR_FORMAT
    header = info.tobuf(
        format,  # type: ignore[arg-type]
        "ascii",
        "strict",
    )
    return header + content + bytes(-len(content) % 512)


FOREIGN = {
    "text": b"hello\n" * 200,
    "a film": CLIP.read_bytes()[:4096],
    "a path upwards": member("../../00000000-0a3b0d31.json"),
    "an absolute path": member("/00000000-0a3b0d31.json"),
    "a link": member("00000000-0a3b0d31.json", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a device": member("00000000-0a3b0d31.json", b"", type=tarfile.CHRTYPE),
    "an extended header": member("x", b"30 path=x\n" * 40, type=tarfile.XHDTYPE),
    "a sparse file": member("00000000-0a3b0d31.json", type=tarfile.GNUTYPE_SPARSE),
    "a size of terabytes": member("00000000-0a3b0d31.json", size=2**42),
    "a negative size": member("00000000-0a3b0d31.json", size=-1),
    "nothing in it": member("00000000-0a3b0d31.json", b""),
    "another number": member("00000007-0a3b0d31.json"),
    "digits of another script": member("0000000\u0661-0a3b0d31.json".encode().hex()),
    "another tar": member("readme.txt", b"hello"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_file_that_is_no_recording_is_one_line(tmp_path: Path, what: str) -> None:
    """Nothing outside the file is touched, and nothing is believed."""
    path = tmp_path / "a.edgerec"
    path.write_bytes(FOREIGN[what] + b"x" * 2000)
    with pytest.raises(CameraError) as caught:
        Reader(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pipe_a_folder_and_nothing_are_one_line(tmp_path: Path) -> None:
    """Never waited for."""
    os.mkfifo(tmp_path / "pipe.edgerec")
    (tmp_path / "folder.edgerec").mkdir()
    (tmp_path / "empty.edgerec").touch()
    for name, message in (
        ("pipe", "is a named pipe"),
        ("folder", "is a folder"),
        ("empty", "not a recording"),
        ("none", "No such file"),
    ):
        done = edge("replay", tmp_path / f"{name}.edgerec")
        (line,) = errors(done.stderr)
        assert (done.returncode, message in line) == (74, True), line


def test_damage_in_the_middle_is_reported(tmp_path: Path) -> None:
    """A flipped bit of any byte is found: by the checksum, or because the header makes no sense."""
    content = bytearray(recordings.tar(recordings.of(3)))
    path = tmp_path / "a.edgerec"
    unnoticed = 0
    for at in range(0, len(content) - 2048, 101):
        content[at] ^= 4
        path.write_bytes(content)
        content[at] ^= 4
        try:
            frames, _ = recordings.frames(path)
        except CameraError:
            continue
        assert len(frames) == 3
        unnoticed += 1  # padding, which holds nothing
        padding = content[at]
        assert padding == 0
    assert unnoticed < len(content) / 101


def test_a_recording_is_a_camera(
    clip: Path, broker: PrivateBroker, listen: Callable[[], Listener], daemon: Callable[..., Daemon]
) -> None:
    """The daemon on it publishes what a replay prints, once, as fast as it goes."""
    listener = listen()
    running = daemon(
        *("--source", clip, "--broker", broker.address, "--once"),
        config='device.id = "d"\ncamera.pace = "fast"\n',
    )
    assert running.process.wait(50) == 0
    listener.wait_for(lambda: "offline" in listener.payloads("availability"))
    replayed = map(json.loads, edge("replay", "--json", clip).stdout.splitlines())
    events = [line["event"] for line in replayed if "event" in line]
    assert list(map(key, listener.payloads("event"))) == list(map(key, events))
    assert len(events) > 4
    assert listener.payloads("info")[-1]["camera"]["driver"] == "recording"


def test_its_own_times_are_kept(tmp_path: Path) -> None:
    """In real time by them: a frame after a tenth of a second, the next one after three."""
    parts: Parts = [recordings.start(), recordings.source()]
    for number, tenth in enumerate((0, 1, 4)):
        parts.append(recordings.seen(number, captured_ns=10**9 + tenth * 10**8))
        parts.append(("png", recordings.png()))
    path = tmp_path / "a.edgerec"
    path.write_bytes(recordings.tar([*parts, end(3)]))
    camera = RecordedCamera(path, camera_spec(path, loop=False))
    frames: list[Frame] = []
    with contextlib.suppress(EndOfSource):
        while len(frames) < 4:
            frames += filter(None, [camera.read(1.0)])
    camera.close()
    steps = np.diff([frame.captured_ns for frame in frames])
    assert steps.tolist() == pytest.approx([10**8, 3 * 10**8], abs=1)


def test_a_late_reader_gets_the_current_frame(colors: Path) -> None:
    """Frames whose time has passed are skipped, and the gap is in the numbers."""
    camera = RecordedCamera(colors, camera_spec(colors, loop=True))
    recorded = [record["captured_ns"] for record in recordings.jsons(colors, "frame")]
    step_s = (recorded[-1] - recorded[0]) / 1e9 / (len(recorded) - 1)
    assert camera.read(1.0) is not None
    time.sleep(max(0.3, 5 * step_s))  # the slow reader itself, not a way to wait for something
    late = None
    while late is None:
        late = camera.read(1.0)
    camera.close()
    assert late.sequence >= 2


def test_it_begins_again(colors: Path) -> None:
    """With loop the numbers go on, and the first picture comes again."""
    count = len(recordings.jsons(colors, "frame"))
    camera = RecordedCamera(colors, camera_spec(colors, pace="fast", loop=True))
    frames = [camera.read(1.0) for _ in range(count + 2)]
    camera.close()
    assert [frame.sequence for frame in frames if frame] == list(range(count + 2))
    first, again = frames[0], frames[count]
    assert first is not None
    assert again is not None
    assert np.array_equal(first.pixels, again.pixels)


def test_a_recording_without_a_frame(tmp_path: Path, rgb: Path) -> None:
    """Neither a camera nor something to replay."""
    path = tmp_path / "a.edgerec"
    path.write_bytes(recordings.tar([recordings.start(), recordings.source(), end(0)]))
    done = edge("replay", "--model", rgb, path)
    assert (done.returncode, "holds no frame" in done.stderr) == (74, True)
    camera_error(path, "holds no frame")


def test_smoothing_of_a_recording_is_checked(tmp_path: Path, rgb: Path) -> None:
    """It comes from a file like everything else: status 78, one line."""
    parts = recordings.of(1)
    parts[0] = recordings.start(smoothing=SmoothingConfig(enter=0.2, exit=0.9))
    path = tmp_path / "a.edgerec"
    path.write_bytes(recordings.tar(parts))
    done = edge("replay", "--model", rgb, path)
    (line,) = errors(done.stderr)
    assert (done.returncode, "`exit` is above `enter`" in line) == (78, True)


@pytest.mark.parametrize(
    "options", [["--allow", "-1"], ["--allow", "x"], ["--threads", "0"], ["--seconds", "0"]]
)
def test_options_out_of_range(options: list[str]) -> None:
    """Status 2, before anything is opened."""
    command = "record" if options[0] == "--seconds" else "replay"
    assert edge(command, *options, "none.edgerec").returncode == 2


def test_any_archive_tool_unpacks_it(colors: Path, tmp_path: Path) -> None:
    """The pictures can be looked at without us."""
    tool = shutil.which("tar")
    assert tool
    subprocess.run([tool, "xf", colors, "-C", tmp_path], check=True)
    assert len(list(tmp_path.glob("*.jpg"))) == len(recordings.jsons(colors, "frame"))


def test_the_page_names_every_key_of_a_comparison() -> None:
    """What a CI reads is documented, and nothing that is not there."""
    table = (ROOT / "docs" / "replay.md").read_text().split("| key of `--compare --json`")[1]
    rows = table.split("\n\n")[0].splitlines()[2:]
    named = [key for row in rows for key in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(Comparison.__struct_fields__)
