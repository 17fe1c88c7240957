"""`make run`, the demo: live results, and no process left after Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import ROOT, WAIT_S, wait_until

RUN = [sys.executable, "deploy/run.py"]


def processes(marker: str) -> list[str]:
    """Return the command lines of the running processes with ``marker`` in their environment."""
    running = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if marker.encode() in environ.read_bytes():
                running.append((environ.parent / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return running


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_everything(number: int, rgb: Path) -> None:
    """Results arrive; after the signal "offline" is printed and no process is left."""
    marker = f"EDGE_TEST={os.getpid()}-{number}"
    name, _, value = marker.partition("=")
    running = subprocess.Popen(
        [*RUN, "--source", "synthetic", "--model", str(rgb)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, name: value},
    )
    assert running.stdout is not None
    lines = []
    for line in running.stdout:
        lines.append(line)
        if "green -> blue" in line:
            break
    assert len(processes(marker)) == 3
    running.send_signal(number)
    rest, _ = running.communicate(timeout=WAIT_S)
    assert running.returncode == 0
    assert "availability offline" in rest
    assert rest.endswith("stopped\n")
    assert processes(marker) == []
    output = "".join(lines)
    assert re.search(r"mosquitto_sub -h 127.0.0.1 -p \d+ -v -t 'edge/#'", output)
    for kind in ("info", "availability online", "state", "result", "telemetry"):
        assert kind in output


def test_the_page_is_live_and_ends_with_the_demo(rgb: Path) -> None:
    """Its address is printed; what it says comes from the daemon; no process is left."""
    name, value = "EDGE_TEST", f"{os.getpid()}-page"
    running = subprocess.Popen(
        [*RUN, "--source", "synthetic", "--model", str(rgb), "--web"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, name: value},
    )
    assert running.stdout is not None
    address = next(line.split()[1] for line in running.stdout if line.startswith("page: "))

    def live() -> bool:
        try:
            with urllib.request.urlopen(f"{address}api/state", timeout=WAIT_S) as answer:
                state = json.load(answer)
        except OSError:
            return False
        scores = (state["payload"] or {}).get("scores", {})
        return not state["stale"] and set(scores) == {"red", "green", "blue"}

    wait_until(live)
    with urllib.request.urlopen(f"{address}snapshot.jpg", timeout=WAIT_S) as picture:
        assert picture.read(2) == b"\xff\xd8"
    change = json.dumps({"cases": {"request": True}}).encode()
    request = urllib.request.Request(f"{address}api/settings", change, {"X-Edge-Request": "1"})
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:  # there is room for pictures
        assert json.load(answer)["applied"]
    with urllib.request.urlopen(f"{address}api/doctor", timeout=WAIT_S) as answer:
        checks = {one["name"]: one["verdict"] for one in json.load(answer)["checks"]}
    assert (checks["camera"], checks["broker"]) == ("ok", "ok"), checks
    assert len(processes(f"{name}={value}")) == 4
    running.send_signal(signal.SIGINT)
    rest, _ = running.communicate(timeout=WAIT_S)
    assert running.returncode == 0
    assert rest.endswith("stopped\n")
    assert processes(f"{name}={value}") == []


def test_a_terminal_shows_a_screen(rgb: Path) -> None:
    """A terminal gets a screen that redraws: scores, percentiles, memory; Ctrl-C ends it."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ |= {"COLUMNS": "120", "LINES": "40", "TERM": "xterm"}
        os.chdir(ROOT)
        os.execv(RUN[0], [*RUN, "--source", "synthetic", "--model", str(rgb)])
    screen = b""
    typed = False
    until = time.monotonic() + 2 * WAIT_S
    while time.monotonic() < until:
        if not select.select([terminal], [], [], 0.5)[0]:
            continue
        try:
            screen += os.read(terminal, 65536)
        except OSError:  # the other side is closed
            break
        if not typed and b"fps" in screen and b"PSS" in screen and b"label_changed" in screen:
            os.write(terminal, b"\x03")
            typed = True
    os.close(terminal)  # which hangs up on a demo that still runs
    _, status = os.waitpid(child, 0)
    text = screen.decode(errors="replace")
    assert os.waitstatus_to_exitcode(status) == 0, text[-2000:]
    for word in ("p50", "p99", "invoke", "latency", "red", "online", "offline", "stopped"):
        assert word in text


@pytest.mark.parametrize(
    ("option", "value", "status", "line"),
    [
        ("--source", "no/such.mp4", 74, "edge: no/such.mp4: no such source"),
        ("--model", "catdgo", 78, "got catdgo; did you mean `catdog`?"),
    ],
)
def test_a_daemon_that_fails_is_reported(option: str, value: str, status: int, line: str) -> None:
    """By its own error line and exit status."""
    done = subprocess.run(
        [*RUN, option, value],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == status
    assert line in done.stderr
