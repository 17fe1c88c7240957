"""What `edge doctor` says of brokers: real ones, good and bad, and of what they keep."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.broker import PrivateBroker, free_port
from edge import __version__
from edge import config as configs
from edge.config import Config
from edge.doctor import broker as probe
from edge.doctor import published
from edge.doctor.checks import Check
from edge.doctor.service import Unit
from tests.certificates import Authority, Pair
from tests.conftest import ROOT, Listener

pytestmark = [  # paho leaves the socket of a failed handshake to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
RUNNING = Unit({"LoadState": "loaded", "ActiveState": "active"})
GOLDEN = ROOT / "tests" / "golden"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that the broker's certificate is signed by."""
    return Authority(tmp_path_factory.mktemp("ca"), "authority")


def encrypted(pair: Pair) -> PrivateBroker:
    """Return a broker that shows ``pair``."""
    return PrivateBroker(f"certfile {pair.cert}", f"keyfile {pair.key}", "allow_anonymous true")


def config(port: int, **mqtt: Any) -> Config:
    """Return a config for a broker here."""
    tables: dict[str, dict[str, Any]] = {
        "device": {"id": "wall"},
        "mqtt": {"host": "127.0.0.1", "port": port} | mqtt,
    }
    return configs.load(None, tables)


def look(port: int, **mqtt: Any) -> Check:
    """Return the check `broker`."""
    return probe.check(config(port, **mqtt), Unit())[0]


def test_a_good_broker(broker: PrivateBroker, listen: Callable[[], Listener]) -> None:
    """Reached and logged in; of a device that it does not know nothing is known."""
    listener = listen()
    found, told = probe.check(config(broker.port), Unit())
    assert found.verdict == "ok"
    assert found.facts["addresses"] == ["127.0.0.1"]
    assert found.facts["login"] is True
    assert (told.verdict, told.line) == ("unknown", "the broker retains nothing under edge/wall")
    assert probe.check(config(broker.port), RUNNING)[1].verdict == "fault"
    assert probe.check(config(broker.port, protocol="3.1.1"), Unit())[0].verdict == "ok"
    assert listener.messages == []  # it has published nothing


def test_no_broker() -> None:
    """Nobody listens; no such name."""
    found, told = probe.check(config(free_port()), Unit())
    assert (found.verdict, told.verdict) == ("fault", "unknown")
    assert "nothing listens there" in found.line
    assert "start the broker" in found.hint
    named = probe.check(config(1883, host="no-such-host.invalid"), Unit())[0]
    assert "no-such-host.invalid:1883: name not found" in named.line


def test_a_broker_that_does_not_answer(broker: PrivateBroker) -> None:
    """Stopped in its tracks: the port is open, and no more."""
    broker.signal(signal.SIGSTOP)
    found = look(broker.port)
    broker.signal(signal.SIGCONT)
    assert found.verdict == "fault"
    assert "no answer in 3 s" in found.line


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[PrivateBroker]:
    """A broker that lets in `wall` alone, by the shipped rules but for two."""
    passwords = tmp_path / "passwords"
    passwords.touch(0o600)
    subprocess.run(["mosquitto_passwd", "-b", passwords, "wall", "right-password"], check=True)
    acl = tmp_path / "acl"
    shipped = (ROOT / "deploy" / "mosquitto" / "acl").read_text()
    acl.write_text(re.sub(r"pattern read edge/%u/(info|state)\n", "", shipped))
    acl.chmod(0o600)
    with PrivateBroker(f"password_file {passwords}", f"acl_file {acl}") as running:
        yield running


def test_logins(guarded: PrivateBroker, tmp_path: Path) -> None:
    """Accepted, refused, and with a password that cannot be read."""
    file = tmp_path / "password"
    file.write_text("right-password\n")
    mqtt = {"username": "wall", "password_file": str(file)}
    assert look(guarded.port, **mqtt).verdict == "ok"
    file.write_text("wrong-password\n")
    refused = look(guarded.port, **mqtt)
    assert refused.verdict == "fault"
    assert "login as wall: refused the connection" in refused.line
    assert "mqtt.username" in refused.hint
    assert "wrong-password" not in str(refused)
    assert "login without a user name: refused" in look(guarded.port).line
    file.write_text("")
    empty = look(guarded.port, **mqtt)
    assert (empty.verdict, empty.line.split(";")[0]) == (
        "fault", f"{file}: password file is empty"
    )  # fmt: skip
    assert "reached" in empty.line


def test_tls(authority: Authority, tmp_path: Path) -> None:
    """Names, issuer and end of a certificate that is accepted; one that ends soon is told."""
    mqtt: dict[str, Any] = {"tls": True, "ca_file": str(authority.cert)}
    with encrypted(authority.sign("good", days=300)) as broker:
        found = look(broker.port, **mqtt)
        assert found.verdict == "ok"
        shown = found.facts["certificate"]
        assert (shown["names"], shown["issuer"]) == (["127.0.0.1"], "authority")
        assert shown["verified"] is True
        assert 299 <= shown["expires_in_days"] <= 300
        careless = look(broker.port, tls=True, accept_any_certificate=True)
        assert careless.verdict == "warning"
        assert careless.facts["certificate"]["names"] == ["127.0.0.1"]
        plain = look(broker.port)
        assert plain.verdict == "fault"
        assert "mqtt.tls" in plain.hint
        lost = look(broker.port, tls=True, ca_file=str(tmp_path / "none"))
        assert (lost.verdict, lost.line.split(":")[0]) == ("fault", f"mqtt.ca_file {tmp_path}/none")
    with encrypted(authority.sign("soon", days=7)) as broker:
        soon = look(broker.port, **mqtt)
        assert (soon.verdict, soon.hint) == ("warning", "renew it")
        assert re.match("its certificate ends in (6 d 23|7 d 0) h", soon.line)


def test_a_certificate_that_is_refused_is_described(authority: Authority, tmp_path: Path) -> None:
    """Why, whose it is all the same, and what to do about it."""
    mqtt: dict[str, Any] = {"tls": True, "ca_file": str(authority.cert)}
    with encrypted(authority.sign("old", days=-1)) as broker:
        old = look(broker.port, **mqtt)
        assert "certificate has expired" in old.line
        assert old.facts["certificate"]["expires_in_days"] < 0
        assert old.hint.startswith("renew it")
    with encrypted(authority.sign("else", address="DNS:broker.example")) as broker:
        named = look(broker.port, **mqtt)
        assert "IP address mismatch" in named.line
        assert named.hint == "set mqtt.host to a name in it: broker.example"
    with encrypted(Authority(tmp_path, "other").sign("strange")) as broker:
        strange = look(broker.port, **mqtt)
        assert "not accepted" in strange.line
        assert strange.hint == f"mqtt.ca_file must hold other; it is {authority.cert}"
        assert strange.facts["certificate"]["verified"] is False
    for found in (old, named, strange):
        assert found.verdict == "fault"
        assert "login" not in found.facts  # nothing was sent to it


def test_tls_to_a_broker_without(broker: PrivateBroker) -> None:
    """It says that the port does not speak TLS, and does not hang."""
    found = look(broker.port, tls=True)
    assert found.verdict == "fault"
    assert found.hint == "does the broker speak TLS there? see mqtt.port and mqtt.tls"


NOW_S = 1_800_000_000.0


def told(kept: dict[str, Any], unit: Unit = RUNNING, **publish: float) -> Check:
    """Return the check `published` of what a broker keeps."""
    made = {
        f"edge/wall/{topic}": body if isinstance(body, bytes) else json.dumps(body).encode()
        for topic, body in kept.items()
    }
    return published.check("edge/wall", made, config(1), unit, NOW_S)


def test_a_cluster_may_retain_on_another_node() -> None:
    """Nothing retained is a fault of one broker; of a cluster it says nothing, and the hint why."""
    for nodes, verdict in ((1, "fault"), (3, "unknown")):
        found = published.check("edge/wall", {}, config(1), RUNNING, NOW_S, nodes)
        assert found.verdict == verdict
        assert ("a node of a cluster" in found.hint) is (nodes > 1)


def golden(topic: str, **changes: Any) -> dict[str, Any]:
    """Return a message of this version's."""
    found: dict[str, Any] = json.loads((GOLDEN / f"{topic}.json").read_text())["payload"]
    if topic == "info":
        found["version"] = __version__
        found["camera"] |= {"state": "online", "error": ""}
    return found | {"ts": NOW_S - 2} | changes


def test_what_is_published_is_judged() -> None:
    """Online, of this version, its camera well, its state young; and each of these not so."""
    good = {"availability": b"online", "info": golden("info"), "state": golden("state")}
    assert told(good).verdict == "ok"
    assert told(good).facts["state_age_s"] == 2.0
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"availability": b"offline"}, "fault", "edge/wall is offline"),
        ({"info": golden("info", version="0.0.9")}, "warning", "0.0.9 runs"),
        ({"state": golden("state", ts=NOW_S - 60)}, "warning", "state is 1 min old"),
        ({"state": golden("state", paused=True, ts=1.0)}, "warning", "paused by request"),
        ({"info": b"{}"}, "warning", "info is not what"),
    ]
    for change, verdict, line in cases:
        found = told(good | change)
        assert (found.verdict, found.line[: len(line)]) == (verdict, line)
        assert found.hint
    away = golden("info")
    away["camera"] |= {"state": "recovering", "error": "/dev/video0: has gone"}
    lost = told(good | {"info": away})
    assert (lost.verdict, lost.hint) == ("fault", "see `camera`")
    assert lost.line.startswith("its camera is recovering: /dev/video0: has gone")
    stateless = told({topic: good[topic] for topic in ("availability", "info")})
    assert stateless.line.startswith("no state: nothing has been classified")


def test_a_login_that_may_not_read_all(guarded: PrivateBroker, tmp_path: Path) -> None:
    """What the broker does not let it read is unknown, and not absent."""
    file = tmp_path / "password"
    file.write_text("right-password\n")
    login = ["-u", "wall", "-P", "right-password", "-p", str(guarded.port)]
    for topic, text in (("availability", "online"), ("info", json.dumps(golden("info")))):
        subprocess.run(
            ["mosquitto_pub", *login, "-r", "-q", "1", "-t", f"edge/wall/{topic}", "-m", text],
            check=True,
        )
    mqtt = {"username": "wall", "password_file": str(file)}
    found = probe.check(config(guarded.port, **mqtt), RUNNING)[1]
    assert found.verdict == "unknown"
    assert found.line == "this login may not read info and state; edge/wall online"


def test_the_password_is_systemds(
    guarded: PrivateBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read from the credentials; who may not read them is told so, and the rest is still tried."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    hidden = probe.check(config(guarded.port, username="wall"), RUNNING)[0]
    assert hidden.verdict == "unknown"
    assert hidden.line.startswith("login not tried: only root can read")
    assert "reached in" in hidden.line
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "mqtt-password").write_text("right-password")
    assert probe.check(config(guarded.port, username="wall"), RUNNING)[0].verdict == "ok"


def test_an_encrypted_credential_is_the_running_services(
    guarded: PrivateBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No login is tried without what systemd alone can decrypt; the port is tried all the same."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    (tmp_path / "mqtt-password.cred").write_text("k6iUCUh0RJCQyvL8k8q1UyAA")
    found, told = probe.check(config(guarded.port, username="wall"), RUNNING)
    assert (found.verdict, told.verdict) == ("unknown", "unknown")
    assert "only the running service has mqtt-password; " in found.line
    assert "reached in" in found.line
    assert found.hint == "start the service, then run this again"
    (tmp_path / "mqtt-key.cred").write_text("k6iUCUh0RJCQyvL8k8q1UyAA")
    sealed = probe.check(config(guarded.port, tls=True), RUNNING)[0]
    assert (sealed.verdict, sealed.facts["tls"]) == ("unknown", True)
    assert "only the running service has mqtt-key; " in sealed.line
    named = {"tls": True, "key_file": str(tmp_path / "none"), "cert_file": str(tmp_path / "none")}
    assert probe.check(config(guarded.port, **named), RUNNING)[0].verdict == "fault"
    file = tmp_path / "mine"
    file.write_text("right-password")
    mine = {"username": "wall", "password_file": str(file)}
    assert probe.check(config(guarded.port, **mine), RUNNING)[0].verdict == "ok"
