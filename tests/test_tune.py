"""`edge tune` as a user meets it: real children, on little time."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge import config as configs
from tests.conftest import ROOT, WAIT_S, edge, wait_until

CANDIDATE = {"threads", "cores", "width", "height", "motion", "second", "scene", "asked"}
FIGURES = {
    *("p50_ms", "p99_ms", "cpu_share", "cpu_ms", "pss_bytes", "frames", "dropped", "skipped"),
    *("others_share", "seconds", "celsius"),
}
ANSWER: dict[str, set[str] | None] = {
    **dict.fromkeys(("schema", "complete", "meets", "misses", "fps", "model", "runtime")),
    **dict.fromkeys(("cores_total", "scene", "warnings", "notes", "advice", "lines")),
    "target": {"latency_ms", "cpu_share", "celsius"},
    "chosen": CANDIDATE,
    "figures": FIGURES,
    "before": {"p99_ms", "cpu_share"},
    "noise": {"p99_ms", "cpu_share"},
    "measurements": {"part", "candidate", "text", "runs", "faults"},
}
"""Schema 1: keys of the answer, and of what is in it."""


def config(folder: Path, model: Path, source: str = "synthetic", more: str = "") -> Path:
    """Return a config file of a small model, at ten frames a second."""
    path = folder / "edge.toml"
    camera = f'[camera]\nsource = "{source}"\nwidth = 64\nheight = 48\nfps = 10\n'
    path.write_text(f'{camera}[model]\npath = "{model}"\n{more}')
    return path


def tune(*arguments: Any) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
    """Return the answer of `edge tune --json`, and the whole run."""
    done = edge("tune", "--json", "--minutes", "0.15", *arguments)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout), done


def test_the_answer_has_its_keys_and_its_lines_are_a_config(rgb: Path, tmp_path: Path) -> None:
    """JSON of schema 1; the file loads, with what was chosen in it; every part has runs."""
    out = tmp_path / "tuned.toml"
    answer, done = tune(
        *("--config", config(tmp_path, rgb), "--latency-ms", "60000", "--out", out, "--fps", "12")
    )
    assert answer["schema"] == 1
    assert answer["complete"] is True
    assert answer.keys() == ANSWER.keys()
    for key, keys in ANSWER.items():
        inner = answer[key][0] if key == "measurements" else answer[key]
        assert keys is None or inner.keys() == keys, key
    assert answer["measurements"][0]["runs"][0].keys() == FIGURES
    assert answer["measurements"][0]["candidate"].keys() == CANDIDATE
    assert answer["figures"]["frames"] > 0
    assert answer["figures"]["p99_ms"] > 0
    assert answer["figures"]["pss_bytes"] > 1e7
    assert not [row["faults"] for row in answer["measurements"] if row["faults"]]
    parts = {row["part"] for row in answer["measurements"]}
    assert {"as configured", "chosen"} <= parts
    late = [note for note in answer["notes"] if note.startswith("no time for")]
    assert "threads" in parts or "threads" in late[0]
    assert done.returncode == (0 if answer["meets"] else 1)
    assert answer["meets"] == (answer["misses"] == [])
    assert out.read_text() == answer["lines"]
    loaded = configs.load(out)
    assert loaded.model.threads == answer["chosen"]["threads"]
    assert (loaded.camera.width, loaded.camera.height, loaded.camera.fps) == (64, 48, 12)


def test_a_target_that_cannot_be_met_names_the_nearest(rgb: Path, tmp_path: Path) -> None:
    """Status 1, by how much it is missed, and the governor's limit as a comment only."""
    path = config(tmp_path, rgb)
    done = edge("tune", "--config", path, "--minutes", "0.1", "--cpu", "0.000001")
    assert done.returncode == 1
    assert "no candidate meets the target" in done.stderr
    assert "% above 0.0001" in done.stderr
    assert "nearest is" in done.stderr
    (tmp_path / "lines.toml").write_text(done.stdout)
    assert "# your choice, in [adaptive]: cpu_share = 1e-06" in done.stdout
    assert configs.load(tmp_path / "lines.toml").adaptive.cpu_share == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_says_what_is_known(
    rgb: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Status 130, lines that load and say so, no file, and no child is left."""
    out, log = tmp_path / "tuned.toml", tmp_path / "log"
    with log.open("w") as stderr:
        running = subprocess.Popen(
            [
                *(sys.executable, "-m", "edge", "tune", "--config", str(config(tmp_path, rgb))),
                *("--minutes", "20", "--out", str(out)),
            ],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=ROOT,
        )
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    try:
        wait_until(lambda: "threads: " in log.read_text() and bool(children.read_text().split()))
        child = Path("/proc", children.read_text().split()[0])
        running.send_signal(number)
        lines, _ = running.communicate(timeout=WAIT_S)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 130
    assert not child.exists()
    assert "# interrupted: only what was known by then" in lines
    (tmp_path / "lines.toml").write_text(lines)
    assert configs.load(tmp_path / "lines.toml").model.threads == 0
    assert not out.exists()
    assert not list(tmp_path.glob(".tuned*"))
    assert "as configured" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_model_that_cannot_start_is_one_line(rgb: Path, tmp_path: Path) -> None:
    """The child's refusal, with its status."""
    (rgb / "model.toml").write_text("name = 3\n")
    done = edge("tune", "--config", config(tmp_path, rgb), "--minutes", "1")
    assert done.returncode == 78
    assert not done.stdout
    assert "model.toml" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_camera_that_is_not_there_is_made_up(rgb: Path, tmp_path: Path) -> None:
    """One line says so, and what is not in the figures then."""
    answer, _ = tune("--config", config(tmp_path, rgb, "/dev/video99"))
    assert answer["scene"] == "moving"
    (note,) = (note for note in answer["notes"] if "video99" in note)
    assert "made-up pictures stand for it" in note


def test_the_camera_of_a_running_daemon_is_not_opened(rgb: Path, tmp_path: Path) -> None:
    """Who listens on the local socket of the config holds it."""
    place = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()
        path = config(tmp_path, rgb, "/dev/video99", f'[local]\npath = "{place}"\n')
        answer, _ = tune("--config", path)
    assert any("is not opened, because a daemon is running" in note for note in answer["notes"])


def test_pictures_of_a_folder_are_read(rgb: Path, tmp_path: Path) -> None:
    """What the config names is measured where it is a file: decoding is in the figures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((48, 64, 3), 80 * number, np.uint8))
    answer, _ = tune("--config", config(tmp_path, rgb, str(folder)))
    assert answer["scene"] == "source"
    assert answer["chosen"]["scene"] == "source"
    assert answer["figures"]["frames"] > 0
    assert "width" not in answer["lines"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--fps", "0.5"], "expected 1 to 240, got '0.5'"),
        (["--latency-ms", "-1"], "expected a number above 0"),
        (["--cpu", "25"], "expected above 0, at most 1, got '25'"),
        (["--celsius", "nan"], "expected a number above 0"),
        (["--celsius", "150"], "expected 1 to 120"),
        (["--minutes", "31"], "expected above 0, at most 30"),
        (["--minutes", "\x1b[2J"], "expected a number above 0"),
    ],
)
def test_bad_values_are_one_line(arguments: list[str], line: str) -> None:
    """Status 2, before anything is measured."""
    done = edge("tune", *arguments)
    assert done.returncode == 2
    assert line in done.stderr.splitlines()[-1]
    assert done.stdout == ""
    assert "\x1b" not in done.stderr


def test_a_file_of_someone_else_is_not_overwritten(rgb: Path, tmp_path: Path) -> None:
    """It is refused at once, not after minutes."""
    out = tmp_path / "edge.toml"
    path = config(tmp_path, rgb)
    before = path.read_text()
    done = edge("tune", "--config", path, "--minutes", "30", "--out", out)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "was not written by edge tune" in done.stderr
    assert out.read_text() == before


def test_a_temperature_needs_a_sensor(rgb: Path, tmp_path: Path) -> None:
    """A target that cannot be judged is refused, unless this machine has a sensor."""
    if list(Path("/sys/class/thermal").glob("thermal_zone*")):
        answer, _ = tune("--config", config(tmp_path, rgb), "--celsius", "120")
        assert answer["figures"]["celsius"] > 0
        return
    done = edge("tune", "--config", config(tmp_path, rgb), "--celsius", "60")
    assert done.returncode == 1
    assert done.stderr == "edge: --celsius: this machine has no sensor of its temperature\n"
