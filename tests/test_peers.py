"""make bench-peers: the same labels everywhere; what cannot be measured says why."""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from deploy.peers import clock, daemons, measure, page, plot, record, setting, tasks
from deploy.peers.loops import LOOPS, WINDOW
from deploy.peers.network import MODEL
from deploy.peers.shapes import PICTURES
from deploy.peers.tasks import Task
from deploy.runtime.pins import BuildError
from tests.conftest import ROOT, WAIT_S, wait_until
from tests.test_onnx import PYTHON as TRAIN
from tests.test_onnx import left_out

SETTLED = 30
"""Frames after which the daemon's rule has decided."""
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", [name for name in LOOPS if name != "invoke"])
def test_every_loop_says_what_the_pipeline_says(name: str) -> None:
    """On each picture of the demo clip: its label, which its file's name begins with."""
    for path in PICTURES:
        picture = cv2.imread(str(path))
        assert picture is not None
        loop = LOOPS[name]("ai_edge_litert", 1)
        for _ in range({"naive": WINDOW, "ours": SETTLED}.get(name, 1)):
            label = loop.frame(np.asarray(picture, np.uint8))
        assert label == path.name.partition("_")[0], path.name


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("source", ["memory", "film", "pictures"])
def test_a_loop_is_measured_on_every_source(loop: str, source: str) -> None:
    """In a process of its own; whatever is measured is above nothing."""
    found = setting.child("deploy.peers.shapes", (loop, source, 1, 0.05, "ai_edge_litert"))
    assert found["turns"] > 0, found
    assert {"cpu_ms", "p50_ms", "p99_ms", "rss_mb", "pss_mb", "peak_mb", "heap_kb"} < found.keys()
    assert all(value > 0 for name, value in found.items() if name != "faults"), found


def test_the_pipeline_allocates_nothing_as_large_as_an_image() -> None:
    """The naive loop allocates two of them, at 640x480 and as floats."""
    heap = {
        loop: setting.child("deploy.peers.shapes", (loop, "memory", 1, 0.05, "ai_edge_litert"))
        for loop in ("ours", "naive")
    }
    assert heap["ours"]["heap_kb"] < 10
    assert heap["naive"]["heap_kb"] > 224 * 224 * 3 * 8 / 1e3


def test_memory_and_time_of_a_process_are_its_own() -> None:
    """The clock of another process is that of this one, here; arrays and new pages are seen."""
    before = time.process_time()
    spent = clock.cpu_s(os.getpid())
    assert before <= spent <= time.process_time()
    fresh = clock.measured(lambda: mmap.mmap(-1, 40_960).write(bytes(40_960)), 0.02)
    assert fresh["faults"] >= 10
    assert clock.allocated(lambda: np.ones(1_000_000, np.uint8))["heap_kb"] >= 1_000
    sizes = clock.memory(os.getpid())
    assert 0 < sizes["pss_mb"] <= sizes["rss_mb"] <= sizes["peak_mb"]


@pytest.mark.skipif(bool(left_out()), reason=f"LEFT OUT: ONNX, {left_out()}")
def test_the_network_as_onnx_gives_the_same_labels(tmp_path: Path) -> None:
    """With the roundings of int8 and without, on the pictures of the clip."""
    files = [tmp_path / "int8.onnx", tmp_path / "float.onnx"]
    command = [TRAIN, "-m", "deploy.peers.onnx_network", MODEL, *files]
    subprocess.run([*map(str, command)], cwd=ROOT, check=True)
    inputs = tmp_path / "inputs.npy"
    np.save(inputs, setting.inputs())
    given = ("ai_edge_litert", MODEL, inputs, 1, 0.05)
    assert setting.child("deploy.peers.runtimes", given)["said"] == setting.expected()
    for file in files:
        found = setting.child(
            "deploy.peers.runtimes", ("onnxruntime", file, inputs, 1, 0.05), TRAIN
        )
        assert found["said"] == setting.expected(), found


def test_a_runtime_that_is_not_installed_is_one_line() -> None:
    """As is one that refuses the network."""
    absent = setting.child("deploy.peers.runtimes", ("no_runtime", MODEL, "-", 1, 0.05))
    assert absent == {"refused": "not installed: No module named 'no_runtime'"}
    damaged = ROOT / "README.md"
    refused = setting.child("deploy.peers.runtimes", ("ai_edge_litert", damaged, "-", 1, 0.05))
    assert refused.keys() == {"refused"}
    assert refused["refused"].startswith(f"{damaged.name}: ")
    assert "\n" not in refused["refused"]


def test_a_program_that_fails_is_one_line() -> None:
    """Its last one; a table shows it."""
    found = setting.child("deploy.peers.shapes", ("no_loop", "memory", 1, 0.05, "ai_edge_litert"))
    assert found == {"refused": "KeyError: 'no_loop'"}


def place_without_anything(folder: Path, patch: pytest.MonkeyPatch) -> setting.Place:
    """Return the place of a clone in which nothing has been built or installed."""
    patch.setattr(setting, "PEERS", ROOT / "build" / "no-peers")
    patch.setattr(setting, "_arch", lambda: "amd64")
    patch.setattr("deploy.runtime.peers.ROOT", folder)
    patch.setattr("deploy.opencv.pack.VERSION", "0")
    return setting.prepare(folder)


def test_what_is_missing_is_named_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command that makes it; nothing is guessed, and nothing is tried twice."""
    place = place_without_anything(tmp_path, monkeypatch)
    assert place.wheels == {}
    with contextlib.ExitStack() as stack:
        todo = tasks.tasks(place, tmp_path, ["runtimes"], 0.05, stack)
        rows = measure.run(todo, 2)["runtimes"]
    reasons = {row.key[0]: row.missing for row in rows}
    assert (
        reasons["ours"].endswith("make runtime ARCH=amd64 PY=3.11") or "PY=3.13" in reasons["ours"]
    )
    assert reasons["onnxruntime"] == "no build/no-peers/bin/python; deploy/setup.sh peers"
    text = page.sections(record.Record(machine(), {"runtimes": rows}))["runtimes"]
    lines = text.splitlines()
    assert len(lines) == 2 + len(rows)
    assert all("not measured: " in line for line in lines[2:])


def test_without_ffmpeg_no_program_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows say so; the broker is not left behind."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with contextlib.ExitStack() as stack:
        todo = tasks.tasks(empty(tmp_path), tmp_path, ["programs"], 0.05, stack)
        found = [task.run() for task in todo]
    assert len(found) == len(daemons.PROGRAMS)
    assert all("ffmpeg" in one["refused"] for one in found), found


def empty(folder: Path) -> setting.Place:
    """Return a place with nothing in it."""
    return setting.Place({}, {}, folder / "python", folder / "i", folder / "f", folder / "x")


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="LEFT OUT: programs, for want of ffmpeg")
def test_whole_programs_are_measured_with_their_children(tmp_path: Path) -> None:
    """The daemon is one process, ffmpeg and its loop are two; both publish, none is left."""
    before = clock.children(os.getpid())  # of other tests
    bench = daemons.Bench(tmp_path, {})
    with bench.running():
        found = {
            kind: bench.measure(daemons.Program("moving", kind, "PyPI's"), 1.0)
            for kind in ("edge", "small", "naive")
        }
    assert {kind: one["processes"] for kind, one in found.items()} == {
        "edge": 1,
        "small": 2,
        "naive": 2,
    }
    for one in found.values():
        assert one["messages_per_s"] > 0
        assert one["cpu_share"] > 0
        assert one["peak_mb"] >= one["rss_mb"] >= one["pss_mb"] > 0
    assert set(clock.children(os.getpid())) <= set(before)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="LEFT OUT: programs, for want of ffmpeg")
def test_a_program_that_ends_at_once_is_one_line(tmp_path: Path) -> None:
    """The daemon's own refusal of a film that is not there, and that of ffmpeg."""
    bench = daemons.Bench(tmp_path, {})
    with bench.running():
        bench.films["moving"] = tmp_path / "none.mp4"
        for kind in ("edge", "small"):
            found = bench.measure(daemons.Program("moving", kind, "PyPI's"), 1.0)
            assert found.keys() == {"refused"}
            assert re.fullmatch(r"no message: .*none\.mp4.*(?i:no such).*", found["refused"])


def family(process: int) -> list[int]:
    """Return the children of a process, and theirs."""
    try:
        return [one for child in clock.children(process) for one in (child, *family(child))]
    except OSError:  # it has ended
        return []


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="LEFT OUT: programs, for want of ffmpeg")
def test_an_interrupted_run_leaves_nothing_behind() -> None:
    """Broker, daemon, loop, ffmpeg and folder are gone; the status is that of Ctrl-C."""
    command = [sys.executable, "-m", "deploy.peers.measure", "--only", "programs", "--rounds", "1"]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: {"mosquitto", "python"} <= names(running.pid), lambda: "not started")
        started = family(running.pid)
        running.terminate()
        assert running.wait(WAIT_S) == 130
        wait_until(
            lambda: not any(Path(f"/proc/{one}").exists() for one in started), lambda: "left"
        )
    finally:
        running.kill()
        running.wait()


def names(process: int) -> set[str]:
    """Return the programs that a process and its children have started."""
    with contextlib.suppress(OSError):
        return {
            Path(f"/proc/{one}/comm").read_text().strip().rstrip("0123456789.")
            for one in family(process)
        }
    return set()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rounds", "0"], "--rounds: out of range: expected 1 to 50, got 0"),
        (["--rounds", "many"], "ARGS: argument --rounds: invalid int value: 'many'"),
        (["--seconds", "nan"], "--seconds: out of range: expected 0.1 to 60, got nan"),
        (["--only", "all"], "ARGS: argument --only: invalid choice: 'all'"),
        (["--sideways"], "ARGS: unrecognized arguments: --sideways"),
        (["--write", "--rewrite"], "ARGS: argument --rewrite: not allowed with argument --write"),
        (["--write", "--only", "loops"], "ARGS: --write with --only: expected one of them"),
    ],
)
def test_wrong_arguments_are_one_line(words: list[str], said: str) -> None:
    """With status 64, before anything is measured."""
    command = [sys.executable, "-m", "deploy.peers.measure", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert done.stdout == ""
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_every_round_begins_elsewhere() -> None:
    """A refusal is final; what is measured less often has fewer rounds."""
    order: list[str] = []

    def task(name: str, every: int = 1, **answer: Any) -> Task:
        def run() -> dict[str, Any]:
            order.append(name)
            return answer or {"cpu_ms": float(len(order))}

        return Task("loops", (name,), run, every)

    todo = [task("a"), task("b", refused="no"), task("c", every=2), task("d")]
    found = measure.run(todo, 4)["loops"]
    assert order == [*"abcd", *"da", *"cda", *"da"]
    assert [row.key for row in found] == [("a",), ("b",), ("c",), ("d",)]
    assert [row.missing for row in found] == ["", "no", "", ""]


def test_a_row_has_the_median_and_its_ends() -> None:
    """Of the processor time; other figures have their median alone."""
    rounds: list[dict[str, Any]] = [
        {"cpu_ms": 3.0, "rss_mb": 9.0, "version": "1"},
        {"cpu_ms": 1.0, "rss_mb": 7.0},
        {"cpu_ms": 2.0, "rss_mb": 8.12345},
    ]
    row = record.row(("ours",), rounds)
    assert row == record.Row(
        ("ours",), {"cpu_ms": 2.0, "cpu_ms_low": 1.0, "cpu_ms_high": 3.0, "rss_mb": 8.123}, "1"
    )
    hostile = record.row(("ours",), [{"refused": "\x1b[2Jno\nway"}])
    assert hostile.missing == "\\x1b[2Jno\\nway"


def machine() -> record.Machine:
    """Return a machine."""
    return record.Machine("2026-01-02", "a processor", 2, "a system", {}, 3, (0.1, 0.2))


def test_the_document_is_what_was_recorded() -> None:
    """Tables and plot are those of docs/performance.json, to the byte: make bench-peers."""
    recorded = record.read()
    text = page.PAGE.read_text()
    assert page.filled(text, page.sections(recorded)) == text
    assert page.PLOT.read_text() == plot.draw(recorded)
    assert {*recorded.tables} == {*tasks.TABLES}
    assert all(recorded.tables.values())


def test_the_plot_is_small_whole_and_readable_in_the_dark() -> None:
    """It loads nothing, and has a bar for each row that it names."""
    text = page.PLOT.read_text()
    assert len(text) < 20_000
    assert "prefers-color-scheme: dark" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    root = ElementTree.fromstring(text)
    bars = sum(len(bars) for _, bars in plot.panels(record.read()))
    assert len([*root.iter(f"{SVG}rect")]) == bars > 20
    width = float(root.attrib["width"])
    for shape in root.iter(f"{SVG}rect"):
        assert float(shape.attrib["x"]) + float(shape.attrib["width"]) < width


def test_a_bar_that_is_far_longer_than_the_others_is_cut() -> None:
    """The others would be seen no more; its figure says how long it is."""
    rows = [
        record.Row((name, "int8", "1"), {"cpu_ms": value})
        for name, value in (("ours", 1.0), ("ai_edge_litert", 2.0), ("tflite_runtime", 90.0))
    ]
    text = plot.draw(record.Record(machine(), {"runtimes": rows}))
    assert text.count('class="cut"') == 1
    assert ">90.00 ms<" in text
    rows[2] = record.Row(rows[2].key, {"cpu_ms": 3.0})
    assert 'class="cut"' not in plot.draw(record.Record(machine(), {"runtimes": rows}))


@pytest.mark.parametrize(
    ("content", "status"),
    [(None, 66), (b"", 65), (b"\xff", 65), (b"[]", 65), (b'{"machine": {}}', 65)],
)
def test_a_record_that_is_none_is_one_line(
    tmp_path: Path, content: bytes | None, status: int
) -> None:
    """Missing, empty, damaged, another's."""
    path = tmp_path / "performance.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BuildError) as raised:
        record.read(path)
    assert raised.value.status == status
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    """One line for each row."""
    rows = [record.Row(("a", "b"), {"cpu_ms": 1.5}, "1.0"), record.Row(("c",), missing="none")]
    written = record.Record(machine(), {"loops": rows, "runtimes": rows})
    record.write(written, tmp_path / "f")
    assert record.read(tmp_path / "f") == written
    assert len(re.findall(r"(?m)^.*\"key\"", (tmp_path / "f").read_text())) == 4


def test_a_page_without_a_place_for_a_table_is_refused() -> None:
    """It would be written without it; and what stands between the marks is no pattern."""
    marked = "a\n<!-- loops: begin -->\nold\n<!-- loops: end -->\nb\n"
    assert page.filled(marked, {"loops": "\\1 new\n"}) == marked.replace("old", "\\1 new")
    with pytest.raises(BuildError, match="no place for a table"):
        page.filled("nothing", {"loops": "new"})
