"""With deploy/mosquitto/acl, a device has its own topics and no other's."""

from __future__ import annotations

import contextlib
import json
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.broker import PrivateBroker
from tests.conftest import ROOT, Daemon, Listener

Start = Callable[..., Daemon]
USERS = ("porch", "wall", "homeassistant", "watcher")


def guard(folder: Path) -> tuple[str, str]:
    """Return the options of a broker with the shipped ACL; everybody's password is `secret`."""
    passwords, acl = folder / "passwords", folder / "acl"
    passwords.write_text("".join(f"{user}:secret\n" for user in USERS))
    subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True)
    acl.write_bytes((ROOT / "deploy" / "mosquitto" / "acl").read_bytes())
    for file in (passwords, acl):
        file.chmod(stat.S_IRUSR | stat.S_IWUSR)
    return f"password_file {passwords}", f"acl_file {acl}"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[PrivateBroker]:
    """A broker with the shipped ACL."""
    with PrivateBroker(*guard(tmp_path)) as running:
        yield running


@contextlib.contextmanager
def watching(broker: PrivateBroker, user: str, topic: str) -> Iterator[Listener]:
    """Subscribe as ``user``; what it may not read does not come."""
    listener = Listener(broker, topic, (user, "secret"))
    try:
        yield listener
    finally:
        listener.close()


def publish(broker: PrivateBroker, user: str, topic: str, payload: str = "{}") -> None:
    """Publish one message as ``user``."""
    login = ("-h", broker.host, "-p", str(broker.port), "-u", user, "-P", "secret")
    command = ("mosquitto_pub", *login, "-t", topic, "-m", payload, "-q", "1")
    subprocess.run(command, check=True, capture_output=True)


def read_up_to(listener: Listener, last: str) -> list[str]:
    """Return the topics that came, up to the message on ``last``."""
    listener.wait_for(lambda: any(line.startswith(f"{last} ") for line in listener.lines))
    return [line.split()[0] for line in listener.lines]


def login(folder: Path, device: str) -> str:
    """Return the config of a device that logs in as porch."""
    (folder / "password").write_text("secret\n")
    file = f'password_file = "{folder}/password"'
    return f'[device]\nid = "{device}"\n[mqtt]\nusername = "porch"\n{file}\n'


def test_a_device_writes_its_own_topics_alone(guarded: PrivateBroker) -> None:
    """Porch cannot publish, announce or request for wall; nor read what wall publishes."""
    with watching(guarded, "homeassistant", "#") as all_, watching(guarded, "porch", "#") as porch:
        publish(guarded, "porch", "edge/porch/state")
        publish(guarded, "porch", "edge/wall/state")
        publish(guarded, "porch", "edge/wall/request/pause")
        publish(guarded, "porch", "edge/wall/claim")
        publish(guarded, "porch", "homeassistant/device/wall/config")
        publish(guarded, "wall", "edge/wall/state")
        publish(guarded, "porch", "edge/porch/info")
        of_porch = ["edge/porch/state", "edge/porch/info"]
        assert read_up_to(porch, "edge/porch/info") == of_porch
        assert read_up_to(all_, "edge/porch/info") == [
            of_porch[0], "edge/wall/state", of_porch[1],
        ]  # fmt: skip


def test_the_requests_of_a_watcher_do_not_arrive(guarded: PrivateBroker) -> None:
    """It reads everything of the devices; its requests do not arrive."""
    requests = "edge/porch/request/+"
    with (
        watching(guarded, "porch", requests) as device,
        watching(guarded, "watcher", "edge/#") as watcher,
    ):
        publish(guarded, "watcher", "edge/porch/request/pause")
        publish(guarded, "homeassistant", "edge/porch/request/ping")
        publish(guarded, "porch", "edge/porch/state")
        ping = "edge/porch/request/ping"
        assert read_up_to(device, ping) == [ping]
        assert "edge/porch/request/pause" not in read_up_to(watcher, "edge/porch/state")


def test_the_daemon_needs_no_more(
    guarded: PrivateBroker, daemon: Start, rgb: Path, tmp_path: Path
) -> None:
    """Everything works under the ACL: no refusal in the log, requests answered."""
    command = ("--source", "synthetic", "--model", rgb, "--broker", guarded.address)
    with watching(guarded, "homeassistant", "#") as homeassistant:
        running = daemon(*command, config=login(tmp_path, "porch"))
        running.wait_for_log("red -> green")
        publish(guarded, "homeassistant", "edge/porch/request/ping", '{"transaction": 5}')
        running.wait_for_log("green -> blue")
        read_up_to(homeassistant, "edge/porch/response/ping")
        lines = dict(line.split(" ", 1) for line in homeassistant.lines)
    assert json.loads(lines["edge/porch/response/ping"])["transaction"] == 5
    assert "homeassistant/device/porch/config" in lines
    assert lines["edge/porch/availability"] == "online"
    assert "does not let" not in running.log.read_text()


def test_a_daemon_under_another_name_logs_what_is_denied(
    guarded: PrivateBroker, daemon: Start, rgb: Path, tmp_path: Path
) -> None:
    """A login that does not fit the device id: one line for each topic; the daemon goes on."""
    command = ("--source", "synthetic", "--model", rgb, "--broker", guarded.address)
    running = daemon(*command, config=login(tmp_path, "wall"))
    running.wait_for_log("does not let us write: events")
    running.wait_for_log("green -> blue")
    log = running.log.read_text()
    assert log.count("does not let us write: edge/wall/state") == 1
    assert log.count("does not let us write: events") == 1
