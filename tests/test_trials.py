"""What befalls a daemon in a year: clocks that step, losses and reloads by the hundred, a dead log.

Those marked long take minutes: `make test-long`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sized
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from deploy.broker import PrivateBroker
from tests.conftest import ROOT, WAIT_S, Daemon, Listener
from tests.test_camera_outage import camera_events, last, red
from tests.test_outage import flicker, numbers

__all__ = ["flicker"]
Start = Callable[..., Daemon]
Listen = Callable[[], Listener]
CONFIG = """
[device]
id = "wall"
[camera]
fps = 10.0
[publish]
telemetry_interval_s = 0.5
state_interval_s = 0.5
"""


TCP_REPAIR = 19
"""Of linux/tcp.h: a socket closed in this mode sends nothing. For root."""


class Held(NamedTuple):
    """What a process holds of the machine."""

    files: int
    threads: int
    rss_kb: int


def grown(things: Callable[[], Sized], beyond: int) -> Callable[[], bool]:
    """Return whether there are more than ``beyond`` things, to be asked again."""
    return lambda: len(things()) > beyond


def later(listener: Listener) -> Callable[[], bool]:
    """Return whether a later frame is reported than now, to be asked again."""
    frame = last(listener, "state")["frame"]
    return lambda: bool(last(listener, "state")["frame"] > frame)


def held(process: subprocess.Popen[bytes]) -> Held:
    """Return what ``process`` holds now."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    files = len(os.listdir(f"/proc/{process.pid}/fd"))
    return Held(files, int(status["Threads"]), int(status["VmRSS"].split()[0]))


def test_a_clock_that_steps_changes_what_is_displayed_and_nothing_else(
    broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path, flicker: Path, tmp_path: Path
) -> None:
    """From 1970 to now, then back an hour: no gap, no outage, no event twice; stamps follow."""
    shared, offset = tmp_path / "clock.so", tmp_path / "offset"
    compiler = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(shared)]
    subprocess.run([*compiler, str(ROOT / "tests" / "clock.c")], check=True)
    now_s = int(time.time())

    def step(by_s: int) -> None:
        with offset.open("r+b" if offset.exists() else "wb") as file:
            file.write(struct.pack("=q", by_s))

    step(600 - now_s)
    listener = listen()
    running = daemon(
        *("--source", flicker, "--model", rgb, "--broker", broker.address),
        config=CONFIG + "[smoothing]\nwindow = 1\nhold_frames = 1\n",
        LD_PRELOAD=str(shared),
        CLOCK_OFFSET=str(offset),
        STATE_DIRECTORY=str(tmp_path),
    )
    for by_s in (600 - now_s, 0, -3600):
        step(by_s)
        told = partial(listener.payloads, "telemetry")
        listener.wait_for(grown(told, len(told()) + 3))
        assert abs(last(listener, "telemetry")["ts"] - (time.time() + by_s)) < 60
        assert abs(last(listener, "state")["ts"] - (time.time() + by_s)) < 60
    figures = listener.payloads("telemetry")[1:]
    assert all(0.0 < one["interval_s"] < 60.0 and one["fps"] > 0.0 for one in figures)
    uptimes = [one["uptime_s"] for one in figures]
    assert uptimes == sorted(uptimes)
    assert uptimes[-1] < 60
    for name in ("reconnects_total", "reopens_total", "unsent_total"):
        assert figures[-1][name] == figures[0][name], name
    (came,) = numbers(listener).values()
    assert came == list(range(1, len(came) + 1))
    assert not camera_events(listener)
    assert listener.payloads("availability") == ["online"]
    assert running.stop() == 0
    assert "Traceback" not in running.log.read_text()


def close_together(before: Held, after: Held) -> None:
    """Fail where a process holds more than it did, but for noise."""
    assert after.files <= before.files + 2, (before, after)
    assert after.threads <= before.threads + 2, (before, after)
    assert after.rss_kb <= before.rss_kb + 10_000, (before, after)


@pytest.mark.parametrize("count", [20, pytest.param(300, marks=pytest.mark.long)])
def test_reloads_by_the_hundred_leave_nothing_behind(
    count: int, broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path, tmp_path: Path
) -> None:
    """Every other one is refused; files, threads and memory stay."""
    listener = listen()
    running = daemon(
        *("--source", "synthetic", "--model", rgb, "--broker", broker.address), config=CONFIG
    )
    config, card = tmp_path / "edge.toml", rgb / "model.toml"
    good = card.read_text()
    held_at: list[Held] = []
    listener.wait_for(lambda: last(listener, "state") is not None)
    for number in range(count + 10):
        if number in (10, count + 9):
            held_at.append(held(running.process))
        bad = number % 2
        card.write_text("name = [" if bad else good)
        config.write_text(CONFIG.replace("10.0", str(10.0 + number % 3)))
        running.process.send_signal(signal.SIGHUP)
        listener.wait_for(grown(partial(reloads, listener), number))
        assert reloads(listener)[-1] == ("reload_failed" if bad else "reloaded")
    print(f"{count} reloads: {held_at[0]} -> {held_at[1]}")
    close_together(*held_at)
    listener.wait_for(later(listener))
    assert running.stop() == 0


def reloads(listener: Listener) -> list[str]:
    """Return what was reported of reloads, in order."""
    types = [event["type"] for event in listener.payloads("event")]
    return [kind for kind in types if kind in ("reloaded", "reload_failed")]


HASTY = "from edge.camera import policy; policy.LONGEST_WAIT_S = 0.2"
"""Losses that follow each other are tried at after a quarter of a minute: an hour for 300."""


class Camera:
    """A web camera on one port that hangs up whenever it is told to."""

    def __init__(self) -> None:
        self.picture = red()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._clients: list[socket.socket] = []
        self._lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}/cam.mjpg"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self._clients.append(client)
            threading.Thread(target=self._send, args=(client,), daemon=True).start()

    def _send(self, client: socket.socket) -> None:
        head = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=cut\r\n\r\n"
        part = b"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
        with contextlib.suppress(OSError):
            client.recv(4096)
            client.sendall(head)
            while True:
                with self._lock:
                    client.sendall(part % len(self.picture) + self.picture + b"\r\n")
                time.sleep(0.02)

    def vanish(self) -> None:
        """Forget every connection as a camera does that loses power: nobody is told."""
        clients, self._clients = self._clients, []
        for client in clients:
            with self._lock:
                client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
                client.close()

    def hang_up(self) -> None:
        """End every connection."""
        clients, self._clients = self._clients, []
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            client.close()

    def close(self) -> None:
        """End."""
        self._server.close()
        self.hang_up()


@pytest.mark.parametrize("count", [5, pytest.param(300, marks=pytest.mark.long)])
def test_losses_of_the_camera_by_the_hundred_leave_nothing_behind(
    count: int, broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path, tmp_path: Path
) -> None:
    """Each is reported and comes back; files, threads and memory stay, and the loop goes on."""
    listener, camera = listen(), Camera()
    (tmp_path / "sitecustomize.py").write_text(HASTY)
    running = daemon(
        *("--source", camera.url, "--model", rgb, "--broker", broker.address),
        config=CONFIG.replace("fps = 10.0", "required = false\nmax_reopens = 10000"),
        PYTHONPATH=f"{tmp_path}:{ROOT}",
    )
    try:
        listener.wait_for(lambda: last(listener, "state") is not None)
        held_at: list[Held] = []
        for number in range(count + 3):
            camera.hang_up()
            listener.wait_for(grown(partial(camera_events, listener), 2 * number + 1))
            if number in (2, count + 2):
                listener.wait_for(later(listener))
                held_at.append(held(running.process))
        types = [event["type"] for event in camera_events(listener)]
        assert types == ["camera_lost", "camera_recovered"] * (count + 3)
        print(f"{count} losses: {held_at[0]} -> {held_at[1]}")
        close_together(*held_at)
        assert listener.payloads("availability") == ["online"]
        assert running.stop() == 0
    finally:
        camera.close()


@pytest.mark.skipif(
    os.geteuid() != 0, reason="LEFT OUT: a connection that dies without FIN: for root"
)
def test_a_camera_that_vanishes_without_a_word_is_missed_and_comes_back(
    broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path
) -> None:
    """Its half of the connection is gone, the daemon's is not: stalled, opened again, online."""
    listener, camera = listen(), Camera()
    running = daemon(
        *("--source", camera.url, "--model", rgb, "--broker", broker.address),
        config=CONFIG.replace("fps = 10.0", "stall_timeout_s = 1.0"),
    )
    try:
        listener.wait_for(lambda: last(listener, "state") is not None)
        for number in (1, 2):
            camera.vanish()
            listener.wait_for(grown(partial(camera_events, listener), 2 * number - 1))
        kinds = [event["type"] for event in camera_events(listener)]
        assert kinds == ["camera_stalled", "camera_recovered"] * 2
        assert listener.payloads("availability") == ["online"]
        assert last(listener, "telemetry")["reconnects_total"] == 0
        assert running.stop() == 0
    finally:
        camera.close()


@pytest.mark.parametrize("kills", [3, pytest.param(30, marks=pytest.mark.long)])
def test_kills_at_any_moment_leave_no_gap(
    kills: int, broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path, flicker: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Of every run all events up to its last arrive, the first copies of them in order."""
    listener, chance = listen(), random.Random(1)
    command = ("--source", flicker, "--model", rgb, "--broker", broker.address)
    config = CONFIG + "[smoothing]\nwindow = 1\nhold_frames = 1\n"
    for number in range(kills):
        running = daemon(*command, config=config, STATE_DIRECTORY=str(tmp_path / "state"))
        listener.wait_for(grown(partial(numbers, listener), number))
        time.sleep(chance.uniform(0.0, 1.0))
        running.stop(signal.SIGKILL)
    running = daemon(*command, config=config, STATE_DIRECTORY=str(tmp_path / "state"))
    listener.wait_for(lambda: len(numbers(listener)) > kills)
    assert running.stop() == 0
    assert len(numbers(listener)) == kills + 1
    for came in numbers(listener).values():
        assert list(dict.fromkeys(came)) == list(range(1, max(came) + 1))
    total = sum(map(len, numbers(listener).values()))
    once = sum(len(set(came)) for came in numbers(listener).values())
    print(f"{kills} kills: {once} events, {total - once} of them twice")


def test_a_log_that_nobody_reads_holds_up_nothing(
    broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path, tmp_path: Path
) -> None:
    """Stderr is a full pipe: frames, reloads and the clean stop go on; what is missing is said."""
    listener, log = listen(), tmp_path / "log"
    os.mkfifo(log)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    config = tmp_path / "edge.toml"
    command = [sys.executable, "-m", "edge", "run", "--config", str(config)]
    command += ["--source", "synthetic", "--model", str(rgb), "--broker", broker.address]
    config.write_text(CONFIG)
    with log.open("wb", buffering=0) as stderr:
        fcntl.fcntl(stderr, fcntl.F_SETPIPE_SZ, 4096)
        running = subprocess.Popen(command, cwd=ROOT, stderr=stderr)
    try:
        listener.wait_for(lambda: last(listener, "state") is not None)
        (rgb / "model.toml").write_text("name = [")  # a line of 200 bytes each time
        for number in range(30):
            running.send_signal(signal.SIGHUP)
            listener.wait_for(grown(partial(reloads, listener), number))
        listener.wait_for(later(listener))
        os.read(reader, 65_536)
        running.send_signal(signal.SIGHUP)
        listener.wait_for(grown(partial(reloads, listener), 30))
        assert "log lines are missing" in os.read(reader, 65_536).decode()
        for number in range(31, 60):
            running.send_signal(signal.SIGHUP)
            listener.wait_for(grown(partial(reloads, listener), number))
        running.terminate()
        assert running.wait(WAIT_S) == 0
        listener.wait_for(lambda: listener.payloads("availability")[-1] == "offline")
    finally:
        running.kill()
        running.wait()
        os.close(reader)


def test_an_error_line_that_nobody_reads_does_not_hold_the_end(rgb: Path) -> None:
    """A wrong config ends with its status, though stderr is full."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    command = [sys.executable, "-m", "edge", "run", "--config", str(rgb / "none.toml")]
    try:
        assert subprocess.run(command, cwd=ROOT, stderr=writer, timeout=WAIT_S).returncode == 78
    finally:
        os.close(reader)
        os.close(writer)
