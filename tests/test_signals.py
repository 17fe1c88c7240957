"""Signals during the start: remembered from its first moment; never a traceback."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import ROOT, WAIT_S, Daemon, wait_until

Start = Callable[..., Daemon]
STARTS = 40


def catches(pid: int, number: int) -> bool:
    """Return whether a process has a handler for the signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(mask.split()[1], 16) >> (number - 1) & 1)


def test_signals_are_taken_before_anything_is_imported() -> None:
    """Not even typing, which takes longer than the interpreter itself."""
    code = (
        "import sys; before = {*sys.modules}; from edge import __main__ as entry;"
        "from edge.daemon import signals;"
        "signals.remember = lambda: (print(*sorted({*sys.modules} - before)), sys.exit(0));"
        "entry.leave()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert {"edge", "edge.__main__", "edge.daemon.signals", "signal"} <= loaded
    assert len(loaded) < 20, loaded
    assert not {"typing", "logging", "argparse", "msgspec", "edge.cli.arguments"} & loaded


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_at_any_moment_of_the_start_is_obeyed(
    number: int, daemon: Start, rgb: Path
) -> None:
    """A stop ends it with status 0; a SIGHUP is obeyed once it is ready; no traceback ever."""
    random_ = random.Random(number)
    for _ in range(STARTS // 4):
        running = daemon("--source", "synthetic", "--model", rgb, "--broker", "localhost:1")
        ready = partial(catches, running.process.pid, signal.SIGHUP)  # Python has one for SIGINT
        wait_until(ready, every_s=0.001)
        time.sleep(random_.uniform(0.0, 0.4))  # a random moment of the start
        running.process.send_signal(number)
        if number == signal.SIGHUP:
            running.wait_for_log(" reloaded")
            running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(WAIT_S) == 0, running.log.read_text()
        text = running.log.read_text()
        assert "Traceback" not in text
        assert "Exception ignored" not in text
        running.log.unlink()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_service_loses_no_signal_while_python_starts(
    number: int, tmp_path: Path, rgb: Path
) -> None:
    """As the unit starts it: each is sent before Python runs."""
    unit = (ROOT / "deploy/systemd/edge-camera.service").read_text()
    launched = re.search(r"^ExecStart=(/usr/bin/env \S+) /usr/bin/edge run ", unit, re.MULTILINE)
    assert launched is not None
    early = ["sh", "-c", f'kill -{int(number)} $$; exec "$@"', "sh"]
    edge = [sys.executable, "-m", "edge", "run", "--source", "synthetic", "--model", str(rgb)]
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [*launched[1].split(), *early, *edge, "--broker", "localhost:1"],
            cwd=ROOT,
            stderr=stderr,
        )
    try:
        if number == signal.SIGHUP:
            wait_until(lambda: " reloaded" in log.read_text(), log.read_text)
            process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)],
)
def test_other_commands_end_as_programs_do(number: int, status: int) -> None:
    """Also by a signal that came before they could handle it: with the status of any program."""
    code = (
        "import os, sys; from edge import __main__ as entry;"
        "from edge.daemon import signals; real = signals.remember;"
        f"signals.remember = lambda: (real(), os.kill(os.getpid(), {int(number)}));"
        "sys.argv[1:] = ['schema']; entry.leave()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


def test_what_ignored_a_hangup_goes_on_ignoring_it() -> None:
    """`nohup edge bench`: a terminal that closes does not end it."""
    code = (
        "import os, sys; from edge import __main__ as entry;"
        "from edge.daemon import signals; real = signals.remember;"
        f"signals.remember = lambda: (real(), os.kill(os.getpid(), {int(signal.SIGHUP)}));"
        "sys.argv[1:] = ['schema']; entry.leave()"
    )
    command = ["nohup", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
    assert done.stdout.startswith("{")
