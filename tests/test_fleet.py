"""Other devices on the same broker: real daemons, hostile neighbours, ACLs, and no broker."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.broker import PrivateBroker
from tests.conftest import Daemon, wait_until
from tests.test_acl import guard, login
from tests.web_server import Got, Web

Start = Callable[..., Daemon]
Serve = Callable[..., Web]
OPEN = (
    "pattern read edge/+/availability",
    "pattern read edge/+/info",
    "pattern read edge/+/state",
)
"""What docs/fleet.md adds to the ACL."""


def config(folder: Path, name: str, more: str = "") -> str:
    """Return the config of a device, whose socket is in ``folder``."""
    return f'[local]\npath = "{folder}/edge.sock"\n[device]\nid = "{name}"\n{more}'


def start(daemon: Start, folder: Path, model: Path, broker: str, text: str) -> Daemon:
    """Return a daemon in a folder of its own, once it has said something."""
    folder.mkdir(exist_ok=True)
    running = daemon(
        *("--source", "synthetic", "--model", model, "--broker", broker),
        config=text,
        STATE_DIRECTORY=str(folder),
    )
    running.wait_for_log("red -> green")
    return running


def retain(broker: PrivateBroker, topic: str, payload: bytes, *login: str) -> None:
    """Publish a retained message."""
    where = ("-h", broker.host, "-p", str(broker.port))
    command = ("mosquitto_pub", *where, *login, "-t", topic, "-r", "-q", "1", "-s")
    subprocess.run(command, input=payload, check=True, capture_output=True)


def asked(server: Web) -> Any:
    """Return the fleet; the server must have got it."""
    got = server.ask("/api/fleet")
    assert got.status == 200, got
    return got.json()


def test_the_others_are_seen_by_the_page(
    tmp_path: Path, broker: PrivateBroker, daemon: Start, web: Serve, rgb: Path
) -> None:
    """Name, label, since, online, version and page of two others; one is killed: offline."""
    page = '[homeassistant]\npage = "http://wall.local:8080/"\n'
    first = config(tmp_path, "porch")
    start(daemon, tmp_path, rgb, broker.address, first).wait_for_log(": connected")
    start(daemon, tmp_path / "a", rgb, broker.address, config(tmp_path / "a", "wall", page))
    killed = start(daemon, tmp_path / "b", rgb, broker.address, config(tmp_path / "b", "yard"))
    killed.stop(signal.SIGKILL)
    server = web(config=first).ready().connected()
    wait_until(lambda: [one["online"] for one in asked(server)["devices"]] == [True, False])
    got = asked(server)
    wall, yard = got["devices"]
    own = server.ask("/api/info").json()["payload"]
    assert (wall["id"], wall["page"], wall["version"]) == (
        *("wall", "http://wall.local:8080/"),
        own["version"],
    )
    assert (yard["id"], yard["page"]) == ("yard", "")
    assert wall["label"] in ("red", "green", "blue")
    assert wall["since"] <= wall["said"]
    assert (got["own"], got["left_out"]) == (True, 0)


def test_a_hostile_neighbour_is_bounded(
    tmp_path: Path, broker: PrivateBroker, daemon: Start, web: Serve, rgb: Path
) -> None:
    """Wrong types, escape sequences, a javascript: address, a huge payload: none gets through."""
    text = config(tmp_path, "porch")
    start(daemon, tmp_path, rgb, broker.address, text)
    many = {"labels": ["x" * 20] * 1000}
    evil = {"homeassistant": {"page": "javascript:alert(1)"}}
    info = {"version": "\x1b[2J<b>" * 100, "ts": 5.0, "model": many, "config": evil}
    state = {"label": "\x1b]0;pwned\x07‮" + "x" * 5000, "ts": 9.0, "since_s": 4.0}
    for name, topic, payload in (
        ("evil", "info", json.dumps(info).encode()),
        ("evil", "state", json.dumps(state).encode()),
        ("evil", "availability", b"online"),
        ("types", "info", b'{"version": {"a": 1}, "config": [], "ts": "now"}'),
        ("types", "state", b'{"label": 5, "ts": 1e300, "since_s": -1}'),
        ("types", "availability", b"maybe"),
        ("huge", "info", b'{"version": "' + b"9" * 5_000_000 + b'"}'),
        ("nested", "info", b'{"x": ' + b"[" * 60_000),
        ("no name <b>", "availability", b"online"),
    ):
        retain(broker, f"edge/{name}/{topic}", payload)
    server = web(config=text).ready().connected()
    got = asked(server)
    devices = {one.pop("id"): one for one in got["devices"]}
    nothing = {"online": None, "label": None, "since": None, "said": None}
    silent = {**nothing, "paused": False, "version": "", "page": ""}
    assert devices.pop("types") == devices.pop("huge") == devices.pop("nested") == silent
    evil = devices.pop("evil")
    assert devices == {}
    assert evil["label"].startswith("\\x1b]0;pwned\\x07\\u202exxx")
    assert len(evil["label"]) < 200
    assert evil["version"].startswith("\\x1b[2J<b>")
    assert len(evil["version"]) < 200
    assert (evil["page"], evil["online"], evil["since"], evil["said"]) == ("", True, 5.0, 9.0)
    assert b"\x1b" not in server.ask("/api/fleet").body


@pytest.mark.parametrize(("more", "expected"), [((), []), (OPEN, ["wall"])])
def test_what_the_broker_lets_a_device_read(
    tmp_path: Path, daemon: Start, web: Serve, rgb: Path, more: tuple[str, ...], expected: list[str]
) -> None:
    """With the shipped ACL own messages come alone; with three more lines the others' come."""
    options = guard(tmp_path)
    acl = tmp_path / "acl"
    lines = acl.read_text().splitlines()
    at = lines.index("pattern read edge/%u/claim")
    acl.write_text("\n".join([*lines[:at], *more, *lines[at:]]) + "\n")
    with PrivateBroker(*options) as broker:
        retain(broker, "edge/wall/availability", b"online", "-u", "wall", "-P", "secret")
        text = login(tmp_path, "porch") + f'[local]\npath = "{tmp_path}/edge.sock"\n'
        start(daemon, tmp_path, rgb, broker.address, text).wait_for_log(": connected")
        server = web(config=text).ready().connected()
        got = asked(server)
    assert [one["id"] for one in got["devices"]] == expected
    assert got["own"]


def test_no_broker_and_a_wrong_login_are_one_line(
    tmp_path: Path, daemon: Start, web: Serve, rgb: Path
) -> None:
    """Status 409, where and why, and what to look at; a fault is given again for a while."""
    options = guard(tmp_path)
    text = login(tmp_path, "porch") + f'[local]\npath = "{tmp_path}/edge.sock"\n'
    (tmp_path / "password").write_text("wrong\n")

    def refused(server: Web) -> str:
        got: Got = server.ask("/api/fleet")
        assert got.status == 409, got
        return str(got.json()["error"])

    with PrivateBroker(*options) as broker:
        start(daemon, tmp_path, rgb, broker.address, text)
        server = web(config=text).ready().connected()
        error = refused(server)
        assert error.startswith(f"{broker.address}: refused the connection: ")
        assert error.endswith("; see [mqtt] in edge.toml")
    assert refused(server) == error


def test_a_broker_that_is_away(tmp_path: Path, daemon: Start, web: Serve, rgb: Path) -> None:
    """One line; the local socket goes on."""
    text = config(tmp_path, "porch")
    start(daemon, tmp_path, rgb, "127.0.0.1:1", text)
    server = web(config=text).ready().connected()
    got = server.ask("/api/fleet")
    assert got.status == 409
    line = got.json()["error"]
    assert line.startswith("127.0.0.1:1: broker cannot be reached: ")
    assert line.endswith("; see [mqtt] in edge.toml")
    assert "\n" not in line


def test_without_a_daemon(tmp_path: Path, web: Serve) -> None:
    """Status 503, as everywhere."""
    server = web(config=config(tmp_path, "porch")).ready()
    assert server.ask("/api/fleet").status == 503
