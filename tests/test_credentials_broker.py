"""Devices as their SD cards make them, at a real mosquitto: passwords, certificates, revocation."""

from __future__ import annotations

import contextlib
import copy
import socket
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from deploy.broker import PrivateBroker, free_port
from deploy.image import disk
from tests import cards
from tests.conftest import ROOT, Daemon, Listener, wait_until

Start = Callable[..., Daemon]
CONF = ROOT / "deploy" / "mosquitto" / "certificates.conf"
SITE = '[edge.mqtt]\nhost = "127.0.0.1"\ntls = true\n'


class Fleet:
    """Some devices, each on its SD card, and the files of their broker."""

    def __init__(self, folder: Path, image: Path, rows: str, *options: str) -> None:
        self.folder, self._image, self._options = folder, image, options
        self.csv = folder / "devices.csv"
        self.csv.write_text(rows)
        (folder / "site.toml").write_text(SITE)
        self.make()

    def make(self, *options: str) -> str:
        """Run `make credentials`; return what it prints."""
        config = ("--config", str(self.folder / "site.toml"))
        done = cards.credentials(self.csv, *config, *self._options, *options)
        assert done.returncode == 0, done
        return done.stdout

    def flash(self, name: str) -> Path:
        """Write the card of a device; return a folder with its /etc/edge-camera."""
        card = cards.blank(self.folder, f"card-{name}")
        done = cards.flash(card, self._image, self.csv, "--again", name)
        assert done.returncode == 0, done
        into = self.folder / f"{name}-{len([*self.folder.glob(f'{name}-*')])}"
        into.mkdir()
        disk.run(["debugfs", "-R", f"rdump /etc/edge-camera {into}", cards.root_of(card)])
        return into / "edge-camera"

    @property
    def broker(self) -> Path:
        """The folder for the broker."""
        return self.csv.with_suffix(".credentials") / "broker"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small image."""
    return cards.image(tmp_path_factory.mktemp("image"))


@pytest.fixture
def fleet(tmp_path: Path, image: Path) -> Fleet:
    """Two devices with certificates of the site's own authority."""
    return Fleet(tmp_path, image, "name\nporch\nwall\n", "--auth", "certificate")


@contextlib.contextmanager
def serving(fleet: Fleet) -> Iterator[tuple[PrivateBroker, Callable[[str], Listener]]]:
    """Run the shipped example with the fleet's files; its other listener is without TLS here."""
    passwords, acl, watch = fleet.folder / "passwords", fleet.folder / "acl", free_port()
    passwords.touch(0o600)
    subprocess.run(["mosquitto_passwd", "-b", passwords, "watcher", "secret"], check=True)
    acl.write_bytes((ROOT / "deploy" / "mosquitto" / "acl").read_bytes())
    acl.chmod(0o600)
    first, second = CONF.read_text().split("listener 8884\n")
    second = second.split("\n", 2)[2]
    text = f"{first}listener {watch} 127.0.0.1\n{second}".replace("listener 8883\n", "")
    text = text.replace("/etc/mosquitto/certs", str(fleet.broker))
    text = text.replace("/etc/mosquitto/", f"{fleet.folder}/")
    with PrivateBroker(*text.splitlines()) as running, contextlib.ExitStack() as stack:
        plain = copy.copy(running)
        plain.port = watch

        def listen(topic: str) -> Listener:
            wait_until(partial(is_open, watch))  # the broker opens it after the other one
            listener = Listener(plain, topic, ("watcher", "secret"))
            stack.callback(listener.close)
            return listener

        yield running, listen


def is_open(port: int) -> bool:
    """Return whether something listens on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def publish(broker: PrivateBroker, device: Path, topic: str) -> subprocess.CompletedProcess[str]:
    """Publish with the certificate of a device's card."""
    command: list[str | Path] = [
        *("mosquitto_pub", "-h", broker.host, "-p", str(broker.port), "-q", "1", "-t", topic),
        *("--cafile", device / "broker-ca.crt", "--cert", device / "device.crt"),
        *("--key", device / "credentials" / "mqtt-key", "-m", "{}"),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def run(start: Start, device: Path, broker: PrivateBroker, model: Path) -> Daemon:
    """Start the daemon with the config and the credentials of a card."""
    text = (device / "edge.toml").read_text().replace("/etc/edge-camera", str(device))
    options = ("--source", "synthetic", "--model", model, "--broker", broker.address)
    return start(*options, config=text, CREDENTIALS_DIRECTORY=str(device / "credentials"))


def test_a_card_is_enough_to_publish_its_own_topics(fleet: Fleet, daemon: Start, rgb: Path) -> None:
    """The real daemon by its certificate: no refusal in the log; nothing as another device."""
    porch, wall = fleet.flash("porch"), fleet.flash("wall")
    with serving(fleet) as (broker, listen):
        listener = listen("edge/#")
        running = run(daemon, porch, broker, rgb)
        listener.wait_for(lambda: "edge/porch/availability online" in listener.lines)
        running.wait_for_log("green -> blue")
        publish(broker, porch, "edge/wall/state")
        publish(broker, porch, "homeassistant/device/wall/config")
        publish(broker, wall, "edge/porch/info")
        assert publish(broker, wall, "edge/wall/state").returncode == 0
        listener.wait_for(lambda: "edge/wall/state {}" in listener.lines)
        assert "edge/porch/info {}" not in listener.lines
        assert [line for line in listener.lines if line.startswith("edge/wall/")] == [
            "edge/wall/state {}"
        ]
        assert "does not let" not in running.log.read_text()


def test_a_client_without_a_certificate_or_with_a_strange_one_is_refused(fleet: Fleet) -> None:
    """One of its own making with the right name, and none."""
    porch = fleet.flash("porch")
    with serving(fleet) as (broker, _):
        assert publish(broker, porch, "edge/porch/state").returncode == 0
        own: list[str | Path] = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
        own += ["-subj", "/CN=porch", "-out", porch / "device.crt"]
        own += ["-keyout", porch / "credentials" / "mqtt-key"]
        subprocess.run(own, check=True, capture_output=True)
        assert publish(broker, porch, "edge/porch/state").returncode != 0
        trusted = str(porch / "broker-ca.crt")
        login = ("-h", broker.host, "-p", str(broker.port), "--cafile", trusted)
        command = ["mosquitto_pub", *login, "-t", "edge/porch/state", "-m", "{}", "-q", "1"]
        assert subprocess.run(command, capture_output=True, check=False, timeout=30).returncode


def test_a_revoked_device_is_shut_out(fleet: Fleet, daemon: Start, rgb: Path) -> None:
    """After a restart with the new crl.pem: the others go on, the one cannot return."""
    porch, wall = fleet.flash("porch"), fleet.flash("wall")
    with serving(fleet) as (broker, listen):
        listener = listen("edge/porch/availability")
        running = run(daemon, porch, broker, rgb)
        listener.wait_for(lambda: "edge/porch/availability online" in listener.lines)
        assert "porch is revoked: REPLACE=porch" in fleet.make("--revoke", "porch")
        broker.stop()
        broker.start()
        assert publish(broker, wall, "edge/wall/state").returncode == 0
        refused = publish(broker, porch, "edge/porch/state")
        assert refused.returncode != 0, refused
        running.wait_for_log("ended the connection")
        assert listen("edge/porch/availability").lines == []
        fleet.make("--revoke", "porch")  # it is already


def test_a_replaced_certificate_works_and_the_old_one_does_not(fleet: Fleet) -> None:
    """For a card that was lost: another certificate of the same name."""
    old = fleet.flash("porch")
    fleet.make("--replace", "porch")
    new = fleet.flash("porch")
    with serving(fleet) as (broker, _):
        assert publish(broker, new, "edge/porch/state").returncode == 0
        assert publish(broker, old, "edge/porch/state").returncode != 0


ODD = ("it's:a $6$ one", "pässwörd €", 'with "quotes", and a comma')


def test_mosquitto_accepts_the_passwords(tmp_path: Path, image: Path) -> None:
    """Those that are made, and any that are given; a revoked one no longer."""
    quoted = "".join(
        f'odd-{number},"{password.replace(chr(34), chr(34) * 2)}"\n'
        for number, password in enumerate(ODD)
    )
    fleet = Fleet(tmp_path, image, f"name,password\nporch,\n{quoted}", "--ca", str(tmp_path / "ca"))
    made = (fleet.flash("porch") / "credentials" / "mqtt-password").read_text().removesuffix("\n")
    assert len(made) == 32
    passwords = fleet.broker / "passwords"
    assert not [secret for secret in (made, *ODD) if secret in passwords.read_text()]
    options = (f"password_file {passwords}", "allow_anonymous false")
    with PrivateBroker(*options) as broker:

        def login(user: str, password: str) -> int:
            where = ("-h", broker.host, "-p", str(broker.port), "-u", user, "-P", password)
            command = ["mosquitto_pub", *where, "-t", "edge/x", "-m", "{}", "-q", "1"]
            return subprocess.run(command, capture_output=True, check=False).returncode

        assert login("porch", made) == 0
        assert login("porch", made + "x") != 0
        for number, password in enumerate(ODD):
            assert login(f"odd-{number}", password) == 0
        fleet.make("--revoke", "porch")
        broker.stop()
        broker.start()
        assert login("porch", made) != 0
        assert login("odd-0", ODD[0]) == 0
