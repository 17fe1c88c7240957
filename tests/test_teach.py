"""`edge teach`: folders of pictures become a model that the daemon uses; whatever is in them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import ANY

import cv2
import numpy as np
import pytest

from edge import folders
from edge.config import ModelConfig
from edge.model import engine, locate
from edge.pictures.read import read_pixels
from tests.conftest import ROOT, edge
from tests.loops import tmpfs

COLORS = {"closed": (40, 40, 200), "open": (200, 120, 40)}
"""BGR of a gate."""


def gate(folder: Path, each: int = 12, **colors: tuple[int, int, int]) -> Path:
    """Return ``folder`` with pictures of a gate: a bar of its colour somewhere in a noisy yard."""
    random = np.random.default_rng(4)
    for label, color in (colors or COLORS).items():
        (folder / label).mkdir(parents=True)
        for number in range(each):
            picture = random.integers(60, 120, (96, 128, 3), np.uint8)
            x, y = (int(v) for v in random.integers(5, 40, 2))
            cv2.rectangle(picture, (x, y), (x + 70, y + 30), color, -1)
            cv2.imwrite(str(folder / label / f"{number}.png"), picture)
    return folder


def at(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in another working folder."""
    command = [sys.executable, "-m", "edge", *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, check=False)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of twelve pictures."""
    return gate(tmp_path_factory.mktemp("taught") / "gate")


def test_a_folder_for_each_class_becomes_a_model(pictures: Path, tmp_path: Path) -> None:
    """It tells new pictures apart, proves its golden picture, and has a report of three kinds."""
    out = tmp_path / "gate"
    done = edge("teach", pictures, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["accuracy"] > 0.9
    assert figures["interval"][0] <= figures["accuracy"] <= figures["interval"][1]
    assert figures["classes"]["open"]["pictures"] == 12
    assert (figures["name"], figures["version"]) == ("gate", "1")
    card = locate.read(out / "model.toml")
    assert card.labels == ("closed", "open")
    assert card.golden
    assert card.smoothing
    assert card.baseline
    assert json.loads((out / "report.json").read_text())["verdict"] == figures["verdict"]
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    fresh = gate(tmp_path / "fresh", 3)
    for label in COLORS:
        seen = edge("classify", "--json", "--model", out, *sorted((fresh / label).iterdir()))
        assert {json.loads(line)["label"] for line in seen.stdout.splitlines()} == {label}


def test_taught_again_it_is_the_next_version_and_the_same_bytes(
    pictures: Path, tmp_path: Path
) -> None:
    """The head is deterministic; the old bundle is replaced whole."""
    out = tmp_path / "gate"
    heads = []
    for version in ("1", "2"):
        done = edge("teach", pictures, "--out", out)
        assert f": gate {version}\n" in done.stdout, done.stderr
        assert "accuracy" in done.stdout
        heads.append((out / "head.npz").read_bytes())
    assert heads[0] == heads[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gate"]


def test_a_taught_model_is_added_and_used_by_name(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`edge models add` proves and copies it; its backbone is shared; the next one is version 2."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    out = tmp_path / "made" / "gate"
    assert edge("teach", pictures, "--out", out).returncode == 0
    assert edge("models", "add", out).stdout.startswith("gate@1 added")
    shutil.rmtree(out)
    started = engine.start(ModelConfig(path="gate"))
    assert started.path == ROOT / "models" / "features" / "model.tflite"
    done = edge("teach", pictures, "--out", out, "--json")
    assert json.loads(done.stdout)["version"] == "2"


def test_what_cannot_be_read_is_listed_and_left_out(pictures: Path, tmp_path: Path) -> None:
    """Half a picture, a text, a pipe, a link to nothing, a huge header: the others teach."""
    folder = tmp_path / "gate"
    shutil.copytree(pictures, folder)
    good = (folder / "open" / "0.png").read_bytes()
    (folder / "open" / "half.png").write_bytes(good[: len(good) // 3])
    (folder / "open" / "text.jpg").write_text("no picture")
    os.mkfifo(folder / "open" / "pipe.jpg")
    (folder / "open" / "lost.jpg").symlink_to("/nowhere.jpg")
    (folder / "closed" / "notes.txt").write_text("not looked at")
    (folder / "closed" / "evil\n\x1b[31m.jpg").write_text("")
    done = edge("teach", folder, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "5 files left out" in done.stdout
    assert "\x1b" not in done.stdout
    figures = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {Path(one["picture"]).name for one in figures["unread"]} == {
        *("half.png", "text.jpg", "pipe.jpg", "lost.jpg", "evil\n\x1b[31m.jpg")
    }
    assert figures["classes"]["open"]["pictures"] == 12


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("--name", "catdog"), "a model of this name comes with the program"),
        (("--name", "../up"), "not a name"),
        (("--name", ""), ""),
        (("--features", "catdog"), "gives scores, no features"),
        (("--features", "nothing"), "model not found"),
        (("--background", "neither"), "no such class: expected one of closed, open"),
        (("--background", "open", "--background", "closed"), "every class is background"),
    ],
)
def test_a_wrong_option_is_one_line(
    arguments: tuple[str, ...], match: str, pictures: Path, tmp_path: Path
) -> None:
    """With status 78, before anything is written."""
    done = edge("teach", pictures, "--out", tmp_path / "out", *arguments)
    if not match:  # an empty name is none
        assert done.returncode == 0
        return
    assert done.returncode == 78
    lines = [line for line in done.stderr.splitlines() if not line.startswith("INFO")]
    assert len(lines) == 1
    assert match in lines[0]
    assert not list(tmp_path.iterdir())


def test_another_folder_is_not_overwritten(pictures: Path, tmp_path: Path) -> None:
    """What is no model stays as it is."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    done = edge("teach", pictures, "--out", tmp_path / "mine")
    assert (done.returncode, "is no model" in done.stderr) == (78, True)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_by_default_the_model_lies_beside_the_pictures(pictures: Path, tmp_path: Path) -> None:
    """Nobody has to give --out, also where the pictures have the model's name."""
    shutil.copytree(pictures, tmp_path / "gate")
    done = at(tmp_path, "teach", "gate")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "gate-model" / "model.toml").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gate", "gate-model"]


@pytest.mark.parametrize(
    ("place", "match"),
    [
        ("gate/new", "lies among the pictures"),
        (".", "is there, and is no model"),
        ("file", "is there, and is no model"),
        ("file/new", "cannot be written"),
        ("/proc/none/new", "cannot be written"),
        ("loop", "cannot be written"),
    ],
)
def test_a_place_that_cannot_be_is_one_line_before_the_work(
    place: str, match: str, pictures: Path, tmp_path: Path
) -> None:
    """No network is even loaded; the pictures are never within what is replaced."""
    shutil.copytree(pictures, tmp_path / "gate")
    (tmp_path / "model.toml").write_text("")
    (tmp_path / "file").write_text("dear")
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.rglob("*"))
    done = at(tmp_path, "teach", "gate", "--out", place)
    assert done.returncode in (1, 78)
    (line,) = done.stderr.splitlines()
    assert match in line
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_to_a_model_stays_a_link(pictures: Path, tmp_path: Path) -> None:
    """What it leads to is replaced."""
    assert edge("teach", pictures, "--out", tmp_path / "real").returncode == 0
    (tmp_path / "link").symlink_to("real")
    done = edge("teach", pictures, "--out", tmp_path / "link")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "link").is_symlink()
    assert locate.read(tmp_path / "real" / "model.toml").version == "2"


def test_names_that_are_no_text_are_reported(pictures: Path, tmp_path: Path) -> None:
    """A file's name may be any bytes; the report is text."""
    folder = tmp_path / "gate"
    shutil.copytree(pictures, folder)
    names = [os.fsdecode(b"b\xffd.jpg"), os.fsdecode(b"closed\xfe.png")]
    (folder / "open" / names[0]).write_text("no picture")
    shutil.copy(folder / "closed" / "0.png", folder / "open" / names[1])  # a suspect
    done = edge("teach", folder, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["unread"] == [{"picture": "open/b\\udcffd.jpg", "reason": ANY}]
    page = (tmp_path / "out" / "report.html").read_text()
    assert 'alt="open/closed\\udcfe.png" src="data:image/jpeg;base64,' in page


VANISHED = """
import shutil, sys
from edge.cli import arguments, teach
from edge.errors import EdgeError
real = teach.teach
def taught(*args):
    done = real(*args)
    shutil.rmtree(sys.argv[2])
    return done
teach.teach = taught
try:
    teach.run(arguments.parser().parse_args(sys.argv[1:]))
except EdgeError as exc:
    print(exc)
"""


def test_pictures_that_go_away_meanwhile_are_one_line(pictures: Path, tmp_path: Path) -> None:
    """The golden picture is read again at the end."""
    shutil.copytree(pictures, tmp_path / "gate")
    command: list[str | Path] = [
        sys.executable,
        "-c",
        VANISHED,
        "teach",
        tmp_path / "gate",
        "--out",
        tmp_path / "out",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "has changed meanwhile: no such file" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_large_jpeg_is_decoded_smaller(tmp_path: Path) -> None:
    """Decoding one of 24 megapixels whole takes 144 MB."""
    path = tmp_path / "large.jpg"
    cv2.imwrite(str(path), np.zeros((4000, 6000, 3), np.uint8))
    assert read_pixels(path, jpeg_bytes=24_000_000).shape == (1000, 1500, 3)
    assert read_pixels(path, jpeg_bytes=40_000_000).shape == (2000, 3000, 3)
    assert read_pixels(path, jpeg_bytes=1).shape == (500, 750, 3)


def test_neither_is_background_by_itself(tmp_path: Path) -> None:
    """As in the recipe; another label where it is named."""
    folder = gate(tmp_path / "yard", 6, cat=(40, 40, 200), neither=(90, 90, 90))
    assert edge("teach", folder, "--out", tmp_path / "a").returncode == 0
    assert locate.read(tmp_path / "a" / "model.toml").background == ("neither",)
    done = edge("teach", folder, "--out", tmp_path / "b", "--background", "cat")
    assert done.returncode == 0, done.stderr
    assert locate.read(tmp_path / "b" / "model.toml").background == ("cat",)


KILLED = """
import builtins, os, pathlib, sys
from edge.cli import arguments, teach
calls, stop = [0], int(sys.argv[1])
def counted(real):
    def call(*args, **kwargs):
        calls[0] += 1
        if calls[0] > stop:
            os.kill(os.getpid(), 9)
        return real(*args, **kwargs)
    return call
for name in ("write_bytes", "write_text", "rename", "mkdir"):
    setattr(pathlib.Path, name, counted(getattr(pathlib.Path, name)))
teach.folders.exchange = counted(teach.folders.exchange)
teach.run(arguments.parser().parse_args(sys.argv[2:]))
print("whole")
"""


def test_killed_at_any_write_the_old_model_stays(pictures: Path, tmp_path: Path) -> None:
    """SIGKILL before each: what stands there is the old bundle or the new one, and it starts."""
    out = tmp_path / "gate"
    assert edge("teach", pictures, "--out", out).returncode == 0
    deaths = 0
    for stop in range(30):
        command = [
            sys.executable,
            "-c",
            KILLED,
            str(stop),
            "teach",
            str(pictures),
            "--out",
            str(out),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        engine.start(ModelConfig(path=str(out)))
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        deaths += 1
    assert deaths >= 5
    assert locate.read(out / "model.toml").version == "2"


def test_a_full_disk_is_one_line(pictures: Path, tmp_path: Path) -> None:
    """A file cannot grow beyond 4 kB: status and one line, the old model stays."""
    out = tmp_path / "gate"
    assert edge("teach", pictures, "--out", out).returncode == 0
    before = sorted((path.name, path.read_bytes()) for path in out.iterdir())
    limited = f"ulimit -f 8; exec {sys.executable} -m edge teach {pictures} --out {out}"
    done = subprocess.run(
        ["bash", "-c", f"trap '' XFSZ; {limited}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    assert "cannot be written: File too large" in done.stderr
    assert sorted((path.name, path.read_bytes()) for path in out.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["gate"]


def test_a_disk_that_is_full_at_any_file_is_one_line(pictures: Path, tmp_path: Path) -> None:
    """Whatever still fits: card, head, report, baseline, golden picture; nothing stays behind."""
    status = 1
    for kilobytes in range(16, 300, 12):
        with tmpfs(tmp_path / "disk", f"{kilobytes}k") as disk:
            done = edge("teach", pictures, "--out", disk / "gate")
            status = done.returncode
            if status == 0:
                break
            lines = [line for line in done.stderr.splitlines() if not line.startswith("INFO")]
            assert lines == [
                f"edge: {disk}/gate: the model cannot be written: No space left on device"
            ]
            assert list(disk.iterdir()) == []
    assert status == 0
    assert kilobytes > 16


def test_a_model_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss of power would else leave the new name with empty files, and the old ones gone."""
    calls: list[str] = []
    real_open, real_sync, opened = os.open, os.fsync, dict[int, str]()

    def opening(path: Path, *args: int, **options: int) -> int:
        file = real_open(path, *args, **options)
        opened[file] = Path(path).name
        return file

    def syncing(file: int) -> None:
        calls.append(opened[file])
        real_sync(file)

    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "head.npz").write_text(name)
    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(folders, "exchange", lambda *_: calls.append("exchanged"))
    folders.replace(tmp_path / "new", tmp_path / "old")
    assert calls == ["head.npz", "new", "exchanged"]


def test_two_at_once_put_their_models_in_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that looked before the other was done replaces it, and neither fails."""
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "head.npz").write_text(name)
    monkeypatch.setattr(Path, "is_dir", lambda _: False)
    for name in ("one", "two", "three"):
        folders.replace(tmp_path / name, tmp_path / "gate")
        assert (tmp_path / "gate" / "head.npz").read_text() == name
    assert [path.name for path in tmp_path.iterdir()] == ["gate"]
