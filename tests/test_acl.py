"""With deploy/mosquitto/acl, a device has its own topics and no other's."""

from __future__ import annotations

import json
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.broker import PrivateBroker
from tests.conftest import ROOT, WAIT_S, Daemon

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


def client(program: str, broker: PrivateBroker, user: str, *more: str) -> list[str]:
    """Return a command of mosquitto's clients."""
    address = ("-h", broker.host, "-p", str(broker.port))
    return [program, *address, "-u", user, "-P", "secret", *more]


class Watcher:
    """A user's mosquitto_sub; what it may not read does not come."""

    def __init__(self, broker: PrivateBroker, user: str, topic: str) -> None:
        command = client("mosquitto_sub", broker, user, "-t", topic, "-q", "1", "-v", "-W", "20")
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)

    def lines(self) -> list[str]:
        """End; return what came, topic and payload."""
        self._process.terminate()
        return self._process.communicate(timeout=WAIT_S)[0].splitlines()


def publish(broker: PrivateBroker, user: str, topic: str, payload: str = "{}") -> None:
    """Publish one message as ``user``."""
    command = client("mosquitto_pub", broker, user, "-t", topic, "-m", payload, "-q", "1")
    subprocess.run(command, check=True, capture_output=True)


def login(folder: Path, device: str) -> str:
    """Return the config of a device that logs in as porch."""
    (folder / "password").write_text("secret\n")
    file = f'password_file = "{folder}/password"'
    return f'[device]\nid = "{device}"\n[mqtt]\nusername = "porch"\n{file}\n'


def test_a_device_writes_its_own_topics_alone(guarded: PrivateBroker) -> None:
    """Porch cannot speak for wall, nor announce it, nor ask it; nor read what it says."""
    seen = Watcher(guarded, "homeassistant", "#")
    spied = Watcher(guarded, "porch", "#")
    publish(guarded, "porch", "edge/porch/state")
    publish(guarded, "porch", "edge/wall/state")
    publish(guarded, "porch", "edge/wall/request/pause")
    publish(guarded, "porch", "edge/wall/claim")
    publish(guarded, "porch", "homeassistant/device/wall/config")
    publish(guarded, "wall", "edge/wall/state")
    time.sleep(0.5)
    topics = [line.split()[0] for line in seen.lines()]
    assert topics == ["edge/porch/state", "edge/wall/state"]
    assert spied.lines() == []


def test_a_watcher_asks_nothing(guarded: PrivateBroker) -> None:
    """It reads all; its requests do not arrive."""
    device = Watcher(guarded, "porch", "edge/porch/request/+")
    watcher = Watcher(guarded, "watcher", "edge/#")
    publish(guarded, "watcher", "edge/porch/request/pause")
    publish(guarded, "homeassistant", "edge/porch/request/ping")
    publish(guarded, "porch", "edge/porch/state")
    time.sleep(0.5)
    assert [line.split()[0] for line in device.lines()] == ["edge/porch/request/ping"]
    assert "edge/porch/state {}" in watcher.lines()


def test_the_daemon_needs_no_more(
    guarded: PrivateBroker, daemon: Start, rgb: Path, tmp_path: Path
) -> None:
    """All of it works under the ACL: no refusal in its log, requests answered."""
    (tmp_path / "password").write_text("secret\n")
    config = (
        f'[device]\nid = "porch"\n[mqtt]\nusername = "porch"\npassword_file = "{tmp_path}/password"'
    )
    command = ("--source", "synthetic", "--model", rgb, "--broker", guarded.address)
    seen = Watcher(guarded, "homeassistant", "#")
    running = daemon(*command, config=config)
    running.wait_for_log("red -> green")
    publish(guarded, "homeassistant", "edge/porch/request/ping", '{"transaction": 5}')
    running.wait_for_log("green -> blue")
    lines = dict(line.split(" ", 1) for line in seen.lines())
    assert json.loads(lines["edge/porch/response/ping"])["transaction"] == 5
    assert "homeassistant/device/porch/config" in lines
    assert lines["edge/porch/availability"] == "online"
    assert "does not let" not in running.log.read_text()


def test_a_daemon_under_another_name_is_told_what_it_may_not(
    guarded: PrivateBroker, daemon: Start, rgb: Path, tmp_path: Path
) -> None:
    """A login that does not fit the device id: one line for each topic, and it goes on."""
    (tmp_path / "password").write_text("secret\n")
    config = (
        f'[device]\nid = "wall"\n[mqtt]\nusername = "porch"\npassword_file = "{tmp_path}/password"'
    )
    command = ("--source", "synthetic", "--model", rgb, "--broker", guarded.address)
    running = daemon(*command, config=config)
    running.wait_for_log("does not let us write: events")
    running.wait_for_log("green -> blue")
    log = running.log.read_text()
    assert log.count("does not let us write: edge/wall/state") == 1
    assert log.count("does not let us write: events") == 1
