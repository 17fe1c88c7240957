"""CONFIG: the settings of an SD card, read and checked.

Rule 1: all of it is checked before anything is built; every fault is one line (ConfigError, 78).
Rule 2: a secret in it is an error unless `secrets = true` allows it on the SD card.

Knows neither images nor the files on the SD card.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec

from deploy.image.patterns import (
    HOST_NAME,
    KEY,
    Country,
    Name,
    NetworkName,
    Passphrase,
    Secret,
    Zone,
)
from edge import files, toml
from edge.config import device
from edge.config.load import convert
from edge.config.table import Table
from edge.config.tables import Config
from edge.errors import ConfigError

ZONES: Final = Path("/usr/share/zoneinfo")


class System(Table, frozen=True):
    """The machine.

    hostname   {serial} stands for the last eight digits of the board's serial number
    read_only  only upgrades write the root; logs in memory; state on a partition of its own
    """

    hostname: str = "edge-{serial}"
    timezone: Zone = "UTC"
    read_only: bool = False


class User(Table, frozen=True):
    """The user who may log in over SSH, by key only, and use sudo."""

    name: Name = "pi"
    ssh_keys: tuple[str, ...] = ()


class Wifi(Table, frozen=True):
    """The Wi-Fi network; the password is a secret. Country: two letters, ISO 3166."""

    country: Country | None = None
    ssid: NetworkName = ""
    password: Passphrase = ""


class Broker(Table, frozen=True):
    """Files of this machine that go onto the SD card; `password` and the key are secrets."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    password: Secret = ""


class Camera(Table, frozen=True):
    """The login of a network stream; a secret."""

    password: Secret = ""


class Site(Table, frozen=True):
    """The whole file; `edge` holds the tables of edge.toml that are given."""

    secrets: bool = False
    system: System = System()
    user: User = User()
    wifi: Wifi = Wifi()
    broker: Broker = Broker()
    camera: Camera = Camera()
    edge: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)


PEM_ENDS: Final = {"ca_file": "CERTIFICATE", "cert_file": "CERTIFICATE", "key_file": "PRIVATE KEY"}
PLACES: Final = {
    "ca_file": "/etc/edge-camera/broker-ca.crt",
    "cert_file": "/etc/edge-camera/device.crt",
}
"""Their paths on the SD card; the key is a credential instead."""


def load(path: Path | None) -> Site:
    """Return the site in ``path`` (None: the defaults), checked. Raises ConfigError."""
    tables = toml.read(path, ConfigError) if path else {}
    where = str(path) if path else "defaults"
    site = toml.convert(tables, Site, where, ConfigError)
    return checked(_with_files(site, path.parent if path else Path(), where), where)


def checked(site: Site, where: str) -> Site:
    """Return ``site``, whose files are read, checked and with what follows. Raises ConfigError."""
    site = _with_keys(site, where)
    _check_secrets(site, where)
    _check_wifi(site.wifi, where)
    if not HOST_NAME.fullmatch(site.system.hostname.replace("{serial}", "0" * 8)):
        raise ConfigError(
            "not a host name",
            where=f"{where}: system.hostname",
            expected="1 to 63 letters, digits and inner hyphens; {serial} is eight of them",
            got=site.system.hostname,
        )
    if not (ZONES / site.system.timezone).is_file() and ZONES.is_dir():
        raise ConfigError(
            "unknown time zone",
            where=f"{where}: system.timezone",
            expected=f"a file below {ZONES}",
            got=site.system.timezone,
        )
    edge = daemon(site)
    _check_daemon(edge, where)
    return msgspec.structs.replace(site, edge=edge)


def daemon(site: Site) -> dict[str, dict[str, Any]]:
    """Return the tables of edge.toml: those that are given, with what follows from the others."""
    tables = {name: dict(keys) for name, keys in site.edge.items()}
    tables.setdefault("device", {}).setdefault("id", "{serial}")
    for key, place in PLACES.items():
        if getattr(site.broker, key):
            tables.setdefault("mqtt", {}).setdefault(key, place)
    return tables


def psk(wifi: Wifi) -> str:
    """Return the network's key in hexadecimal. Source: IEEE 802.11-2020, J.4."""
    password, name = wifi.password.encode(), wifi.ssid.encode()
    return hashlib.pbkdf2_hmac("sha1", password, name, 4096, 32).hex()


def _with_files(site: Site, folder: Path, where: str) -> Site:
    """Return ``site`` with the content of the broker's files instead of their names."""
    contents = {}
    for key, kind in PEM_ENDS.items():
        if not (name := getattr(site.broker, key)):
            continue
        try:
            text = files.read_text(folder / name).replace("\r\n", "\n")
        except OSError as exc:
            raise ConfigError(
                f"cannot be read: {exc.strerror}", where=f"{where}: broker.{key}", got=name
            ) from exc
        if f"{kind}-----" not in text:
            raise ConfigError(
                "wrong kind of file",
                where=f"{where}: broker.{key}",
                expected=f"PEM with a {kind}",
                got=name,
            )
        contents[key] = text
    return msgspec.structs.replace(site, broker=msgspec.structs.replace(site.broker, **contents))


def _check_secrets(site: Site, where: str) -> None:
    secrets = {
        "wifi.password": site.wifi.password,
        "broker.password": site.broker.password,
        "broker.key_file": site.broker.key_file,
        "camera.password": site.camera.password,
    }
    address = site.edge.get("camera", {}).get("source", "")
    if "@" in str(address).partition("://")[2].partition("/")[0]:
        raise ConfigError(
            "a login in an address, which every user of the SD card may read",
            where=f"{where}: edge.camera.source",
            hint="give edge.camera.username, and the password as camera.password",
        )
    present = [key for key, value in secrets.items() if value]
    if present and not site.secrets:
        raise ConfigError(
            "a secret without `secrets = true`",
            where=f"{where}: {present[0]}",
            hint="set it at the top, and keep the image as safe as the secret",
        )


def _with_keys(site: Site, where: str) -> Site:
    """Return ``site`` with its keys checked, and byte order marks removed."""
    keys = tuple(key.removeprefix("\ufeff") for key in site.user.ssh_keys)
    for number, key in enumerate(keys):
        if not KEY.fullmatch(key):
            raise ConfigError(
                "not a public key",
                where=f"{where}: user.ssh_keys[{number}]",
                expected="the line of an id_ed25519.pub",
                got=key[:40],
            )
    if site.user.name == "root":
        raise ConfigError(
            "not an ordinary user",
            where=f"{where}: user.name",
            expected="another name; it may use sudo",
            got="root",
        )
    return msgspec.structs.replace(site, user=msgspec.structs.replace(site.user, ssh_keys=keys))


def _check_wifi(wifi: Wifi, where: str) -> None:
    if wifi.ssid and wifi.country is None:
        raise ConfigError(
            "a network without a country",
            where=f"{where}: wifi.country",
            expected='two letters, such as "DE"',
            hint="without it the radio stays off",
        )
    if wifi.password and not wifi.ssid:
        raise ConfigError("a password without a network", where=f"{where}: wifi.ssid")
    if wifi.password and len(wifi.password) < 8:
        raise ConfigError(
            "too short", where=f"{where}: wifi.password", expected="8 to 63 characters"
        )
    if len(wifi.ssid.encode()) > 32:
        raise ConfigError("too long", where=f"{where}: wifi.ssid", expected="at most 32 bytes")


def _check_daemon(tables: dict[str, dict[str, Any]], where: str) -> None:
    """Raise ConfigError where the daemon would refuse ``tables``."""
    inside = f"{where}: edge"
    template = toml.convert(tables, Config, inside, ConfigError).device.id
    convert({**tables, "device": {"id": "any"}}, inside)
    if "{" not in template:
        device.name(template, f"{inside}: device.id")
        return
    with tempfile.TemporaryDirectory() as made:  # a machine with everything that a name can contain
        for place, content in ((device.SERIAL, "10000000abcdef01"), (device.MACHINE, "1" * 32)):
            (Path(made) / place).parent.mkdir(parents=True)
            (Path(made) / place).write_text(content)
        device.name(template, f"{inside}: device.id", Path(made))
