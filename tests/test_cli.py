"""The commands as a user meets them."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.broker import PrivateBroker
from edge.cli import arguments
from tests.conftest import ROOT, Daemon, edge

COMMANDS = ("run", "check", "classify", "bench", "tune", "watch", "schema")
BENCH_KEYS = {
    *("invoke_ms", "preprocess_ms", "overhead_ms", "pipeline_ms", "fps", "rss_bytes"),
    *("pss_bytes", "rss_growth_bytes", "heap_growth_bytes", "frame_peak_heap_bytes", "runtime"),
    *("xnnpack", "delegated_share", "threads", "model", "frames", "frame_size"),
    *("plugged_pipeline_ms", "publish_ms"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_that_parses(command: str) -> None:
    """The parser accepts the example in the help."""
    shown = edge(command, "--help").stdout
    example = re.search(r"example: edge (.*)", shown)
    assert example, shown
    arguments.parser().parse_args(example[1].split(" | ")[0].split())


def test_classify_reports_bad_files_and_goes_on(rgb: Path, tmp_path: Path) -> None:
    """One JSON object a file in the order given; status 1 where one could not be read."""
    good, bad, none = tmp_path / "good.png", tmp_path / "bad.png", tmp_path / "none.png"
    cv2.imwrite(str(good), np.full((40, 60, 3), (200, 0, 0), np.uint8))
    bad.write_bytes(good.read_bytes()[:40])
    done = edge("classify", "--json", "--model", rgb, bad, none, good)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert found[0] == {"path": str(bad), "error": "not a readable picture"}
    assert found[1] == {"path": str(none), "error": "no such file"}
    assert found[2].keys() == {"path", "label", "score", "scores", "ms"}
    assert found[2]["label"] == "blue"
    assert found[2]["scores"].keys() == {"red", "green", "blue"}
    assert edge("classify", "--model", rgb, good).stdout == f"{good}: blue 0.980\n"


def test_bench_prints_every_figure(rgb: Path) -> None:
    """The last line is JSON with the promised keys; nothing image-sized is allocated a frame."""
    arguments = ("bench", "--model", rgb, "--frames", "200", "--threads", "1", "--json", "--naive")
    done = edge(*arguments)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures.keys() == BENCH_KEYS | {"naive_ms", "naive_ratio"}
    assert figures["pipeline_ms"].keys() == {"p50", "p90", "p99", "max"}
    assert figures["xnnpack"] is True
    assert figures["threads"] == 1
    assert figures["frames"] == 200
    assert figures["frame_peak_heap_bytes"] < 32 * 32 * 3
    assert figures["heap_growth_bytes"] < 20_000


def test_bench_is_a_gate(rgb: Path) -> None:
    """Over the budget is status 1, and says so."""
    over = edge("bench", "--model", rgb, "--frames", "20", "--budget-ms", "0.000001")
    assert over.returncode == 1
    assert "over the budget" in over.stderr
    assert edge("bench", "--model", rgb, "--frames", "20", "--budget-ms", "9999").returncode == 0


def test_check_shows_what_the_start_would_prove(rgb: Path, tmp_path: Path) -> None:
    """The effective config, then model, runtime, delegate; 78 where it would not start."""
    config = tmp_path / "edge.toml"
    config.write_text(f'[model]\npath = "{rgb}"\nthreads = 1\n')
    done = edge("check", "--config", config)
    assert done.returncode == 0, done.stderr
    shown, end = json.JSONDecoder().raw_decode(done.stdout)
    assert shown["model"]["path"] == str(rgb)
    assert shown["smoothing"]["window"] == 10
    assert "XNNPACK  50% of the nodes, left to TFLite: QUANTIZE, SOFTMAX" in done.stdout[end:]
    shutil.rmtree(rgb)
    assert edge("check", "--config", config).returncode == 78


def test_watch_prints_lines_where_there_is_no_terminal(
    broker: PrivateBroker, rgb: Path, tmp_path: Path
) -> None:
    """State, event and telemetry as text; paho's last will as offline."""
    config = '[device]\nid = "wall"\n[publish]\ntelemetry_interval_s = 0.3\n'
    running = Daemon(
        tmp_path, "--source", "synthetic", "--model", rgb, "--broker", broker.address, config=config
    )
    try:
        running.wait_for_log("connected")
        shown = edge("watch", "--broker", broker.address, "--seconds", "3").stdout
    finally:
        running.stop()
    assert re.search(r"^\d\d:\d\d:\d\d wall availability online$", shown, re.M), shown
    assert re.search(r"wall info uint8io on \w+", shown)
    assert re.search(r"wall event label_changed \w+ -> \w+", shown)
    assert re.search(r"wall telemetry \d+\.\d fps, pipeline p50", shown)


def test_watch_without_a_broker_is_one_line() -> None:
    """Status 69, no traceback."""
    done = edge("watch", "--broker", "127.0.0.1:1")
    assert done.returncode == 69
    assert done.stderr.startswith("edge: 127.0.0.1:1: broker cannot be reached")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("pi.local", "pi.local", 0),
        ("pi.local:1884", "pi.local", 1884),
        ("[::1]:1884", "::1", 1884),
        ("[::1]", "::1", 0),
        ("::1", "::1", 0),
    ],
)
def test_broker_addresses(text: str, host: str, port: int) -> None:
    """Names, IPv4 and IPv6, with and without a port."""
    assert arguments.broker(text) == (host, port)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "--budget-ms", "nan"], "expected a number above 0"),
        (["bench", "--frames", "99999999999999999999"], "expected a whole number above 0"),
        (["bench", "--frames", "1000001"], "expected at most 1000000"),
        (["bench", "--threads", "\u00b2"], "expected a whole number above 0"),
        (["watch", "--seconds", "-1"], "expected a number above 0"),
        (["watch", "--device", "#"], "expected a device id"),
        (["watch", "--broker", "a..b:1883"], "not a host"),
        (["run", "--broker", "mqtt://me:secret@host:1883"], "HOST:PORT; user name"),
    ],
)
def test_a_bad_argument_is_one_line(arguments: list[str], message: str) -> None:
    """No traceback, and no password on the screen."""
    done = edge(*arguments)
    assert done.returncode in (2, 78)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


def test_no_picture_ends_the_others(tmp_path: Path, rgb: Path) -> None:
    """A name that is not UTF-8, a header of 10 gigapixels: the next is still classified."""
    red = cv2.imencode(".png", np.full((8, 8, 3), (0, 0, 200), np.uint8))[1].tobytes()
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    Path(odd).write_bytes(red)
    header = b"IHDR" + struct.pack(">II", 10**5, 10**5) + red[24:29]
    header += struct.pack(">I", zlib.crc32(header))
    (tmp_path / "huge.png").write_bytes(red[:12] + header + red[33:])
    (tmp_path / "red.png").write_bytes(red)
    done = edge(
        "classify", "--json", "--model", rgb, odd, tmp_path / "huge.png", tmp_path / "red.png"
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1, done.stderr
    assert [line.get("label", "none") for line in told] == ["red", "none", "red"]


def test_a_call_that_hangs_does_not_abort_the_end() -> None:
    """A thread that hangs in C while Python finalises: the exit status is still ours."""
    code = (
        "import sys, threading, time; from edge import __main__ as entry;"
        "entry.main = lambda: (print('done'), 3)[1];"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start();"
        "import atexit; atexit.register(print, 'taken apart'); entry.leave()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (3, "done\n")


@pytest.mark.parametrize(
    "command", [("schema",), ("classify", "--json", "deploy/demo/pictures/cat_gcompris_kitten.jpg")]
)
def test_an_output_that_is_full_is_one_line(command: tuple[str, ...]) -> None:
    """As on a full disk; no traceback."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edge", *command],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False,
        )  # fmt: skip
    assert done.returncode == 74
    last = done.stderr.splitlines()[-1]
    assert last == "edge: stdout cannot be written: No space left on device"
    assert "Traceback" not in done.stderr
