"""What systemd is told, and how the journal can be searched."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.contract import EventType
from edge.daemon import systemd
from tests.conftest import ROOT, WAIT_S, Daemon

Start = Callable[..., Daemon]
EVENTS = {*typing.get_args(EventType), "ready", "stopped", "broker_up", "broker_away"}


class Manager:
    """The socket that systemd listens on."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(WAIT_S)

    def hear(self, *passed: str) -> str:
        """Return the next notification that does not begin with one of ``passed``."""
        while True:
            told = self._socket.recv(4096).decode()
            if not told.startswith(passed):
                return told

    def close(self) -> None:
        """Listen no longer."""
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """The service manager's end of the notifications."""
    listening = Manager(tmp_path)
    yield listening
    listening.close()


def test_ready_watchdog_and_stopping(daemon: Start, manager: Manager, rgb: Path) -> None:
    """READY comes after the model has proven itself, then the watchdog's signs of life."""
    running = daemon(
        *("--source", "synthetic", "--model", rgb, "--broker", "localhost:1"),
        NOTIFY_SOCKET=str(manager.path),
        WATCHDOG_USEC="400000",
    )
    assert manager.hear().startswith("READY=1\nSTATUS=uint8io on ")
    assert manager.hear() == "WATCHDOG=1"
    running.process.send_signal(signal.SIGTERM)
    assert manager.hear("WATCHDOG=1", "STATUS=") == "STOPPING=1"


def test_a_reload_is_told_from_begin_to_end(
    daemon: Start, manager: Manager, rgb: Path, tmp_path: Path
) -> None:
    """RELOADING with the time it began, then READY; also where the old config goes on."""
    running = daemon(
        *("--source", "synthetic", "--model", rgb, "--broker", "localhost:1"),
        NOTIFY_SOCKET=str(manager.path),
        config="[publish]\ntelemetry_interval_s = 0.5\n",
    )
    assert manager.hear().startswith("READY=1")
    for written, told in (("[smoothing]\nwindow = 3\n", "reloaded"), ("oops", "not reloaded: ")):
        before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        (tmp_path / "edge.toml").write_text(written)
        running.process.send_signal(signal.SIGHUP)
        reloading = re.fullmatch(
            r"RELOADING=1\nMONOTONIC_USEC=(\d+)", manager.hear("STATUS=", "WATCHDOG=1")
        )
        assert reloading is not None
        assert int(reloading[1]) >= before_us
        assert manager.hear("WATCHDOG=1").startswith("READY=1\nSTATUS=uint8io on ")
        running.wait_for_log(told)


def test_the_status_line_is_for_a_person(daemon: Start, manager: Manager, rgb: Path) -> None:
    """Label and score, rate, latency, broker."""
    daemon(
        *("--source", "synthetic", "--model", rgb, "--broker", "localhost:1"),
        NOTIFY_SOCKET=str(manager.path),
        config="[publish]\ntelemetry_interval_s = 0.5\n",
    )
    pattern = r"STATUS=\w+ [01]\.\d\d · \d+\.\d fps · p99 \d+\.\d ms( · \d+ °C)? · broker away"
    told = manager.hear("READY=1", "STATUS=uncertain", "STATUS=paused")
    assert re.fullmatch(pattern, told), told


def test_why_it_ended_is_a_line_in_the_status_and_in_the_journal(
    manager: Manager, tmp_path: Path
) -> None:
    """With priority 3 through stderr, where it reaches the journal while the unit is known."""
    (tmp_path / "edge.toml").write_text("[camera]\nfps = -1\n")
    read, write = os.pipe()
    stream = os.fstat(write)
    ended = subprocess.run(
        [sys.executable, "-m", "edge", "run", "--config", str(tmp_path / "edge.toml")],
        cwd=ROOT,
        stderr=write,
        env={
            **os.environ,
            "NOTIFY_SOCKET": str(manager.path),
            "JOURNAL_STREAM": f"{stream.st_dev}:{stream.st_ino}",
        },
        timeout=WAIT_S,
        check=False,
    )
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as told:
        line = told.read()
    assert ended.returncode == 78
    assert re.fullmatch(r"<3>.*edge\.toml: camera\.fps: .*\n", line), line
    assert manager.hear() == f"STATUS={line[3:-1]}"


def test_a_closed_stderr_is_nobodys() -> None:
    """`edge schema 2>&-` is no reason to fail."""
    done = subprocess.run(
        f"{sys.executable} -m edge schema 2>&-", shell=True, cwd=ROOT, capture_output=True
    )
    assert done.returncode == 0


def test_stderr_of_another_is_not_the_journal() -> None:
    """JOURNAL_STREAM is inherited by a shell's children whose output goes elsewhere."""
    code = "from edge.daemon import systemd; print(systemd.journaled(), systemd.journal())"
    env = {**os.environ, "JOURNAL_STREAM": "8:1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False None\n"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What the journal's handler would send; its socket exists under systemd only."""
    entries: list[dict[str, Any]] = []
    monkeypatch.setattr(systemd, "journaled", lambda: True)
    handler: Any = systemd.journal()
    handler.send = lambda text, **fields: entries.append({"MESSAGE": text, **fields})
    root = logging.getLogger("edge")
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield entries
    root.removeHandler(handler)
    root.setLevel(before)


def test_an_entry_can_be_found_by_event_and_stage(sent: list[dict[str, Any]]) -> None:
    """A line alone has the stage that wrote it; one that tells an event has its id too."""
    log = logging.getLogger("edge.camera.stream")
    log.info("opened %d", 1)
    extra = {"event": "camera_stalled", "stage": "camera"}
    logging.getLogger("edge.daemon.service").warning("camera: %s", "no frame", extra=extra)
    plain, event = sent
    assert plain["MESSAGE"] == "opened 1"
    assert plain["PRIORITY"] == "6"
    assert plain["EDGE_STAGE"] == "camera"
    assert "EDGE_EVENT" not in plain
    assert event["PRIORITY"] == "4"
    assert event["EDGE_EVENT"] == "camera_stalled"
    assert event["EDGE_STAGE"] == "camera"
    assert event["MESSAGE_ID"] == systemd.message_id("camera_stalled")
    assert event["SYSLOG_IDENTIFIER"] == "edge"


def test_a_journal_that_hangs_holds_up_nothing(tmp_path: Path) -> None:
    """What it has no room for is dropped; the first entry after that has the count."""
    path = str(tmp_path / "socket")
    room = systemd.Writable(path)
    record = logging.makeLogRecord({"msg": "x"})
    assert room.filter(record), "no journald: nothing waits for it"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.connect(path)
            other.setblocking(False)
            assert room.filter(record)
            with contextlib.suppress(BlockingIOError):
                while True:
                    other.send(b"an entry")
            assert not room.filter(record)
            assert not room.filter(record)
            journald.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    journald.recv(100)
            assert room.filter(record)
            assert vars(record)["EDGE_MISSING"] == 2
            later = logging.makeLogRecord({"msg": "x"})
            assert room.filter(later)
            assert not hasattr(later, "EDGE_MISSING")
    os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(path)
        assert room.filter(record), "another journald in its place"


def test_the_catalogue_explains_every_event() -> None:
    """`journalctl -x` finds an explanation by MESSAGE_ID."""
    text = (ROOT / "deploy/systemd/edge-camera.catalog").read_text()
    entries = re.findall(r"^-- ([0-9a-f]{32})\nSubject: (.+)\n\n(.+)", text, re.MULTILINE)
    assert {number for number, _, _ in entries} == {systemd.message_id(e) for e in EVENTS}
    assert len(entries) == len(EVENTS)


def test_a_manager_that_hangs_or_has_gone_holds_up_nothing(
    daemon: Start, tmp_path: Path, rgb: Path
) -> None:
    """Its socket is full, then it is no more: frames go on, SIGTERM is obeyed, no traceback."""
    deaf = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    deaf.bind(str(tmp_path / "notify"))
    running = daemon(
        *("--source", "synthetic", "--model", rgb, "--broker", "localhost:1"),
        NOTIFY_SOCKET=str(tmp_path / "notify"),
        WATCHDOG_USEC="20000",
    )
    running.wait_for_log("green -> blue")
    deaf.close()
    (tmp_path / "notify").unlink()
    running.wait_for_log("blue -> red")
    assert running.stop() == 0
    assert "Traceback" not in running.log.read_text()
