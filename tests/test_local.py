"""The local socket of a real daemon: with a broker, while it is away, and with none at all."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from deploy.broker import PrivateBroker
from edge.errors import EdgeError, LocalError
from edge.local import LocalClient, LocalMessage
from tests.conftest import ROOT, WAIT_S, Daemon, Listener, edge, wait_until

Start = Callable[..., Daemon]
NOWHERE = "127.0.0.1:1"
"""No broker listens there."""
CONFIG = """
[device]
id = "wall"
[local]
path = "{path}"
[publish]
result = true
state_interval_s = 0.2
telemetry_interval_s = {telemetry_s}
[snapshot]
enabled = {snapshots}
on_event = false
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the socket will be."""
    return tmp_path / "e.sock"


@pytest.fixture
def start(daemon: Start, rgb: Path, path: Path) -> Callable[..., Daemon]:
    """Return a function that starts the daemon with a socket, and waits for that."""

    def begin(
        broker: str = NOWHERE, snapshots: bool = True, more: str = "", telemetry_s: float = 0.3
    ) -> Daemon:
        flag = str(snapshots).lower()
        config = CONFIG.format(path=path, snapshots=flag, telemetry_s=telemetry_s) + more
        source = ("--source", "synthetic", "--model", rgb, "--broker", broker)
        running = daemon(*source, config=config)
        running.wait_for_log("local socket: ")
        return running

    return begin


@pytest.fixture
def connect(path: Path) -> Iterator[Callable[[], LocalClient]]:
    """Return a function that connects a client."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(LocalClient(path, WAIT_S))


def until(client: LocalClient, condition: Callable[[LocalMessage], bool]) -> list[LocalMessage]:
    """Return the messages up to the first one for which ``condition`` holds."""
    messages: list[LocalMessage] = []
    end_s = time.monotonic() + WAIT_S
    while time.monotonic() < end_s:
        message = client.receive(WAIT_S)
        assert message is not None, messages[-5:]
        messages.append(message)
        if condition(message):
            return messages
    raise AssertionError(messages[-5:])


def of(topic: str, **fields: Any) -> Callable[[LocalMessage], bool]:
    """Return a condition: the topic of a message, and fields of its payload."""
    return lambda message: (
        message.topic == topic and (not fields or fields.items() <= message.body().items())
    )


def test_it_carries_what_mqtt_carries(
    start: Start, broker: PrivateBroker, connect: Callable[[], LocalClient]
) -> None:
    """The same payloads, to the byte; and goes on while the broker is away."""
    running = start(broker.address)
    listener = Listener(broker)
    client = connect()
    listener.wait_for(lambda: b"online" in listener.bodies("availability"))
    client.request("pause")
    until(client, of("state", paused=True))
    client.request("resume")
    messages = until(client, of("event", type="resumed"))
    listener.wait_for(lambda: len(listener.bodies("event")) >= 2)
    listener.wait_for(lambda: len(listener.bodies("telemetry")) >= 3)
    messages += until(client, of("telemetry", seq=listener.payloads("telemetry")[-1]["seq"]))
    for kind in ("state", "event", "telemetry", "result"):
        mine = {message.payload for message in messages if message.topic == kind}
        assert mine & set(listener.bodies(kind)), kind
    assert listener.bodies("response") == []
    listener.close()

    broker.__exit__(None, None, None)
    running.wait_for_log("the daemon goes on")
    assert client.request("ping")["uptime_s"] > 0
    client.request("pause")
    until(client, of("event", type="paused"))


def test_without_any_broker_it_does_all(start: Start, connect: Callable[[], LocalClient]) -> None:
    """What is current on connecting, requests, pictures, changes."""
    start()
    first = connect()
    messages = until(first, of("availability"))
    kinds = [message.topic for message in messages]
    assert kinds[0] == "info"
    assert set(kinds) <= {"info", "state", "telemetry", "availability"}
    assert all(message.retained for message in messages)
    assert messages[0].body()["device"] == "wall"
    assert messages[-1].body() == "online"

    assert first.request("stats")["fps"] >= 0
    picture = cv2.imdecode(np.frombuffer(first.snapshot(caption=False), np.uint8), -1)
    assert picture is not None
    assert picture.shape == (480, 640, 3)
    first.request("set", smoothing={"window": 3})
    until(first, lambda message: message.topic == "info" and not message.retained)
    assert first.request("reload") == {"needs_restart": []}
    with pytest.raises(EdgeError, match="unknown command"):
        first.request("dance")
    with pytest.raises(EdgeError, match="unknown field"):
        first.request("ping", colour="red")


def test_what_one_asked_for_goes_to_no_other(
    start: Start, broker: PrivateBroker, connect: Callable[[], LocalClient]
) -> None:
    """Neither to another client nor to the broker."""
    start(broker.address)
    listener = Listener(broker)
    one, other = connect(), connect()
    listener.wait_for(lambda: b"online" in listener.bodies("availability"))
    assert one.snapshot()[:2] == b"\xff\xd8"
    one.request("pause")
    messages = until(other, of("event", type="paused"))
    listener.wait_for(lambda: bool(listener.bodies("event")))
    assert {message.topic for message in messages} <= {
        *("info", "state", "telemetry", "availability", "result", "event")
    }
    topics = {topic.split(" ")[0] for topic in listener.lines}
    assert not [topic for topic in topics if "response" in topic or "snapshot" in topic]
    listener.close()


def test_pictures_need_to_be_enabled(start: Start, connect: Callable[[], LocalClient]) -> None:
    """As on MQTT; the error says how."""
    start(snapshots=False)
    with pytest.raises(EdgeError, match=r"snapshots are off; set snapshot\.enabled"):
        connect().snapshot()


def test_the_end_of_the_daemon_is_seen(
    start: Start, connect: Callable[[], LocalClient], path: Path
) -> None:
    """`offline` and the end at a clean stop, the end alone at a kill; then a new one is there."""
    running, client = start(), connect()
    running.stop()
    messages = list(client)
    assert (messages[-1].topic, messages[-1].body()) == ("availability", "offline")
    assert not path.exists()
    with pytest.raises(LocalError, match="No such file or directory; is the daemon running"):
        LocalClient(path)

    running, client = start(), connect()
    until(client, of("availability"))
    running.stop(signal.SIGKILL)
    assert all(message.body() != "offline" for message in client if message.topic != "snapshot")
    assert path.exists()
    with pytest.raises(LocalError, match="Connection refused; is the daemon running"):
        LocalClient(path)
    start()
    assert connect().request("ping")["version"]


def test_two_daemons_do_not_share_a_socket(
    start: Start, daemon: Start, rgb: Path, path: Path, connect: Callable[[], LocalClient]
) -> None:
    """The second one says so in one line, and classifies without."""
    start()
    first = connect().request("ping")["run"]
    config = CONFIG.format(path=path, snapshots="false", telemetry_s=1)
    second = daemon("--source", "synthetic", "--model", rgb, "--broker", NOWHERE, config=config)
    second.wait_for_log("another daemon listens there")
    (line,) = [text for text in second.log.read_text().splitlines() if "another daemon" in text]
    assert line.endswith(
        f"local socket: {path}: another daemon listens there; end it, or give this one a local.path"
        " of its own; the daemon goes on without"
    )
    second.wait_for_log("ready after")
    assert second.stop() == 0
    assert connect().request("ping")["run"] == first


@pytest.mark.parametrize("place", ["nowhere/e.sock", "file"])
def test_a_place_that_cannot_be_ends_nothing(
    daemon: Start, rgb: Path, tmp_path: Path, place: str
) -> None:
    """One warning; the daemon classifies, and what is there stays."""
    (tmp_path / "file").write_text("mine")
    config = f'[local]\npath = "{tmp_path / place}"\n'
    running = daemon("--source", "synthetic", "--model", rgb, "--broker", NOWHERE, config=config)
    running.wait_for_log("the daemon goes on without")
    assert running.stop() == 0
    assert running.log.read_text().count("local socket") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_it_is_in_the_runtime_directory_unless_switched_off(
    daemon: Start, rgb: Path, tmp_path: Path
) -> None:
    """systemd's; without one, or with `enabled = false`, there is none, and none is spoken of."""
    (tmp_path / "run").mkdir()
    where = {"RUNTIME_DIRECTORY": f"{tmp_path / 'run'}:/other"}
    arguments = ("--source", "synthetic", "--model", rgb, "--broker", NOWHERE)
    running = daemon(*arguments, **where)
    running.wait_for_log(f"local socket: {tmp_path / 'run' / 'edge.sock'}")
    running.stop()
    for config, environment in (("[local]\nenabled = false\n", where), ("", {})):
        running = daemon(*arguments, config=config, **environment)
        running.wait_for_log("cannot be reached")
        running.stop()
        assert "local socket" not in running.log.read_text()
    assert list((tmp_path / "run").iterdir()) == []


def test_a_thousand_connections_cost_little(
    start: Start, path: Path, connect: Callable[[], LocalClient]
) -> None:
    """Frames go on, memory and descriptors are bounded, and the one who was there is served."""
    running = start()
    first = connect()
    before = first.request("stats")
    until(first, of("telemetry"))
    held: list[socket.socket] = []
    for number in range(1000):
        one = socket.socket(socket.AF_UNIX)
        one.connect(str(path))
        one.settimeout(WAIT_S)
        if number % 3:
            one.close()
        else:
            held.append(one)
    after = first.request("stats")
    assert after["frames_total"] > before["frames_total"]
    assert after["rss_bytes"] - before["rss_bytes"] < 10_000_000
    descriptors = len(list(Path(f"/proc/{running.process.pid}/fd").iterdir()))
    assert descriptors < 60
    refused = sum(b"too many clients: at most 8" in _all(one) for one in held[-100:])
    assert refused == 100
    for one in held:
        one.close()
    wait_until(lambda: _is_free(path))
    assert "closed so far" in running.log.read_text()


def _all(one: socket.socket) -> bytes:
    return b"".join(iter(lambda: one.recv(65536), b""))


def _is_free(path: Path) -> bool:
    with contextlib.suppress(LocalError), LocalClient(path, WAIT_S) as client:
        return "run" in client.request("ping")
    return False


def test_a_gigabyte_without_an_end_is_not_held(
    start: Start, path: Path, connect: Callable[[], LocalClient]
) -> None:
    """The connection ends after some kilobytes."""
    start()
    client = connect()
    before = client.request("stats")["rss_bytes"]
    chunk, sent = bytes([120]) * 1_000_000, 0
    with socket.socket(socket.AF_UNIX) as hostile:
        hostile.settimeout(WAIT_S)
        hostile.connect(str(path))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while sent < 1_000_000_000:
                sent += hostile.send(chunk)
    assert sent < 10_000_000
    assert client.request("stats")["rss_bytes"] - before < 10_000_000


def test_who_never_reads_is_dropped(start: Start, connect: Callable[[], LocalClient]) -> None:
    """The daemon goes on, with bounded memory."""
    running = start(more="[camera]\nfps = 240.0\n", telemetry_s=0.001)
    client, deaf = connect(), connect()
    before = client.request("stats")

    def dropped() -> bool:
        client.receive(WAIT_S)
        return "clients closed so far, the last one: does not read" in running.log.read_text()

    wait_until(dropped, running.log.read_text, every_s=0.0)
    assert any(message.topic == "telemetry" for message in deaf)  # it gets what was in time
    after = client.request("stats")
    assert after["frames_total"] > before["frames_total"]
    assert after["rss_bytes"] - before["rss_bytes"] < 20_000_000


def test_watch_needs_no_broker(start: Start, path: Path) -> None:
    """It says what it watches; its lines are those of a broker."""
    start()
    done = edge("watch", "--socket", path, "--seconds", "3")
    assert done.returncode == 0
    assert done.stderr == f"watching {path}; --broker localhost:1883 shows what the broker has\n"
    for text in (
        "wall info uint8io on",
        "wall availability online",
        "wall telemetry",
        "wall state",
    ):
        assert f" {text}" in done.stdout, done.stdout


def test_watch_takes_the_socket_of_its_config(
    start: Start, path: Path, tmp_path: Path, broker: PrivateBroker
) -> None:
    """Unless a broker or a device is named; without a daemon, the broker of the config."""
    running = start()
    config = tmp_path / "watch.toml"
    place = f'host = "{broker.host}"\nport = {broker.port}\n'
    config.write_text(f'[local]\npath = "{path}"\n[mqtt]\n{place}')

    def says(*more: str) -> str:
        return edge("watch", "--config", config, "--seconds", "0.5", *more).stderr

    assert says().startswith(f"watching {path};")
    assert says("--broker", broker.address) == ""
    assert says("--device", "wall") == ""
    running.stop()
    assert says() == f"watching broker {broker.address}\n"
    config.write_text(f"[mqtt]\n{place}")
    assert says() == f"watching broker {broker.address}\n"


def test_watch_refuses_what_cannot_be(path: Path) -> None:
    """One line each, with the status of an unreachable broker or of wrong arguments."""
    done = edge("watch", "--socket", path)
    hint = "is the daemon running? see [local] of its config"
    assert (done.returncode, done.stderr) == (
        69,
        f"edge: {path}: No such file or directory; {hint}\n",
    )
    done = edge("watch", "--socket", path, "--broker", "localhost")
    assert done.returncode == 2
    assert "expected --socket, or a broker and a device, not both" in done.stderr


def test_watch_connects_again(start: Start, path: Path) -> None:
    """A killed daemon is offline, and online once it is back."""
    running = start()
    command = [sys.executable, "-m", "edge", "watch", "--socket", str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as watch:
        assert watch.stdout is not None
        assert watch.stderr is not None
        lines = iter(watch.stdout.readline, "")
        assert any("wall availability online" in line for line in lines)
        running.stop(signal.SIGKILL)
        assert any("wall availability offline" in line for line in lines)
        start()
        assert any("wall availability online" in line for line in lines)
        watch.send_signal(signal.SIGINT)
        assert "the daemon has closed the connection, trying again" in watch.stderr.read()


def test_the_doctor_asks_the_daemon_itself(start: Start, path: Path, tmp_path: Path) -> None:
    """Broker or not; where none answers, the line says so."""
    running = start()

    def check() -> Any:
        report = json.loads(edge("doctor", "--json", "--config", tmp_path / "edge.toml").stdout)
        return next(one for one in report["checks"] if one["name"] == "local")

    found = check()
    assert found["verdict"] == "ok"
    assert found["line"].startswith(f"{path} answers in ")
    assert "s ago" in found["line"]
    assert found["facts"]["run"]
    running.stop(signal.SIGKILL)
    found = check()
    assert (found["verdict"], found["line"]) == ("unknown", f"{path}: Connection refused")


@pytest.mark.skipif(os.geteuid() != 0, reason="LEFT OUT: only root can become another user")
def test_others_than_the_group_cannot_connect(start: Start, path: Path) -> None:
    """And learn what to do; `edge watch` goes to the broker instead."""
    start()
    for folder in path.parents[:3]:
        folder.chmod(folder.stat().st_mode | 0o011)
    code = (
        "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "from edge.local import LocalClient\n"
        "try: LocalClient(sys.argv[1])\n"
        "except Exception as exc: print(exc)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True
    )
    line = f"{path}: Permission denied; use sudo, or join the group edge-camera-local\n"
    assert done.stdout == line, done.stderr
