"""Other devices on the same broker: real daemons, hostile neighbours, ACLs, and no broker."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.broker import PrivateBroker
from edge.contract import DEVICES_MAX, Request
from edge.daemon import fleet as fleets
from edge.daemon.commands import Pending
from edge.daemon.fleet import Fleets, fleet
from edge.errors import EdgeError
from edge.local import LINE_MAX
from edge.messages import Broker
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


def test_more_devices_than_are_given_are_counted() -> None:
    """The answer says how many are missing; the worst one fits in a line of the local socket."""
    state = {"label": "\U000e0001" * 5000, "ts": 9.0, "since_s": 1.0}
    info = {"version": "\U000e0001" * 5000}
    payloads = {"edge/me/info": b"{}", "edge/gone/info": b""}
    for n in range(DEVICES_MAX + 7):
        payloads[f"edge/d{n}/state"] = json.dumps(state).encode()
        payloads[f"edge/d{n}/info"] = json.dumps(info).encode()
    got = fleet(payloads, "edge", "me")
    assert (len(got.devices), got.left_out, got.own) == (DEVICES_MAX, 7, True)
    assert len(msgspec.json.encode(got)) < LINE_MAX / 2


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


def test_one_connection_serves_all_who_wait(broker: PrivateBroker) -> None:
    """Nothing is connected before somebody asks; later ones get the same until it is old."""
    now_s = [100.0]
    retain(broker, "edge/wall/availability", b"online")
    asker = Fleets(Broker(broker.host, broker.port), "edge", "porch", lambda: now_s[0])
    asker.tick()
    assert asker._call is None
    answers: list[tuple[Any, str]] = []
    for _ in range(3):
        pending = asker.handle(Request())
        assert isinstance(pending, Pending)
        pending.settle = lambda answer, error: answers.append((answer, error))

    def settled() -> bool:
        asker.tick()
        return len(answers) == 3

    wait_until(settled)
    assert answers[0] == answers[1] == answers[2]
    assert [one.id for one in answers[0][0]["devices"]] == ["wall"]
    assert answers[0][1] == ""
    now_s[0] += 4.0
    again = asker.handle(Request())
    assert not isinstance(again, Pending)
    assert again["age_s"] == 4.0
    assert asker._call is None
    now_s[0] += fleets.FRESH_S
    assert isinstance(asker.handle(Request()), Pending)


def test_a_connection_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits is answered in time, and no second connection is begun beside it."""
    end, begun = threading.Event(), []

    def hang(*_: object) -> dict[str, bytes]:
        begun.append(1)
        end.wait()
        return {}

    monkeypatch.setattr(fleets, "kept", hang)
    now_s = [0.0]
    asker = Fleets(Broker("name.invalid", 1883), "edge", "porch", lambda: now_s[0])
    answers: list[str] = []
    for _ in range(fleets.WAITING):
        pending = asker.handle(Request())
        assert isinstance(pending, Pending)
        pending.settle = lambda _, error: answers.append(error)
    with pytest.raises(EdgeError, match="wait for the broker already"):
        asker.handle(Request())
    asker.tick()
    assert answers == []
    now_s[0] = fleets.PATIENCE_S + 1
    asker.tick()
    assert (
        answers
        == ["name.invalid:1883: broker does not answer in 9 s; see [mqtt] in edge.toml"]
        * fleets.WAITING
    )
    with pytest.raises(EdgeError, match="does not answer"):
        asker.handle(Request())
    end.set()

    def over() -> bool:
        asker.tick()
        return asker._call is None

    wait_until(over)
    assert begun == [1]
