"""CONFIG: what is put onto a card beside Debian and the daemon, read and checked.

Rule 1: all of it is checked before anything is built; every fault is one line (ConfigError, 78).
Rule 2: a secret in it is an error unless `secrets = true` says that it shall go onto the card.

Knows neither images nor where things go on the card.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from edge import toml
from edge.config import device
from edge.config.load import convert
from edge.config.tables import Config, Table
from edge.errors import ConfigError

Name = Annotated[str, Meta(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")]
Country = Annotated[str, Meta(pattern=r"^[A-Z]{2}$")]
KEY: Final = re.compile(
    r"(?:sk-)?(?:ssh-(?:ed25519|rsa)|ecdsa-sha2-nistp\d+)(?:@openssh\.com)?"
    r" [A-Za-z0-9+/]+=*(?: .*)?"
)
HOST_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
"""One label of a name. Source: RFC 1123, 2.1."""
ZONES: Final = Path("/usr/share/zoneinfo")


class System(Table, frozen=True):
    """The machine.

    hostname   {serial} in it is the last eight digits of the board's
    read_only  the root is written by upgrades only; logs in memory; what changes on a partition of
               its own
    """

    hostname: str = "edge-{serial}"
    timezone: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_+/-]+$")] = "UTC"
    read_only: bool = False


class User(Table, frozen=True):
    """Who may log in over SSH: by key, never by password; becomes root with sudo."""

    name: Name = "pi"
    ssh_keys: tuple[str, ...] = ()


class Wifi(Table, frozen=True):
    """A network; the password is a secret. Country: two letters, ISO 3166."""

    country: Country | None = None
    ssid: Annotated[str, Meta(max_length=32)] = ""
    password: Annotated[str, Meta(max_length=63)] = ""


class Broker(Table, frozen=True):
    """Files of this machine that go onto the card; `password` and the key are secrets."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    password: str = ""


class Camera(Table, frozen=True):
    """The login of a network stream; a secret."""

    password: str = ""


class Site(Table, frozen=True):
    """The whole file; `edge` is edge.toml as the daemon reads it, its defaults left out."""

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
"""Where the daemon finds them; the key comes to it as a credential."""


def load(path: Path | None) -> Site:
    """Return the site in ``path`` (None: the defaults), checked. Raises ConfigError."""
    tables = toml.read(path, ConfigError) if path else {}
    where = str(path) if path else "defaults"
    site = toml.convert(tables, Site, where, ConfigError)
    folder = path.parent if path else Path()
    site = _with_files(site, folder, where)
    _check_secrets(site, where)
    _check_login(site, where)
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
    """Return the tables of edge.toml: those that are given, and what follows from the rest."""
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
    """Return ``site`` with the content of the broker's files in the place of their names."""
    contents = {}
    for key, kind in PEM_ENDS.items():
        if not (name := getattr(site.broker, key)):
            continue
        try:
            text = (folder / name).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "not text"
            raise ConfigError(
                f"cannot be read: {reason}", where=f"{where}: broker.{key}", got=name
            ) from exc
        if f"{kind}-----" not in text:
            raise ConfigError(
                "another kind of file",
                where=f"{where}: broker.{key}",
                expected=f"PEM with a {kind}",
                got=name,
            )
        contents[key] = text
    return msgspec.structs.replace(site, broker=msgspec.structs.replace(site.broker, **contents))


def _check_secrets(site: Site, where: str) -> None:
    told = {
        "wifi.password": site.wifi.password,
        "broker.password": site.broker.password,
        "broker.key_file": site.broker.key_file,
        "camera.password": site.camera.password,
    }
    address = site.edge.get("camera", {}).get("source", "")
    if "@" in str(address).partition("://")[2].partition("/")[0]:
        raise ConfigError(
            "a login in an address, which everybody on the card may read",
            where=f"{where}: edge.camera.source",
            mend="give edge.camera.username, and the password as camera.password",
        )
    found = [key for key, value in told.items() if value]
    if found and not site.secrets:
        raise ConfigError(
            "a secret, and nothing says that it may be written into the image",
            where=f"{where}: {found[0]}",
            mend="set `secrets = true` at the top, and keep the image as you would keep the secret",
        )
    for key in found:
        if "\n" in told[key] and key != "broker.key_file":
            raise ConfigError("more than one line", where=f"{where}: {key}")


def _check_login(site: Site, where: str) -> None:
    for number, key in enumerate(site.user.ssh_keys):
        if not KEY.fullmatch(key):
            raise ConfigError(
                "not a public key",
                where=f"{where}: user.ssh_keys[{number}]",
                expected="the line of an id_ed25519.pub",
                got=key[:40],
            )
    if site.user.name == "root":
        raise ConfigError(
            "not a user for a person",
            where=f"{where}: user.name",
            expected="any other name; it may use sudo",
            got="root",
        )


def _check_wifi(wifi: Wifi, where: str) -> None:
    if wifi.ssid and wifi.country is None:
        raise ConfigError(
            "a network without its country",
            where=f"{where}: wifi.country",
            expected='two letters, such as "DE"',
            mend="without it the radio stays off",
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
    with tempfile.TemporaryDirectory() as made:  # a machine that has all that a name is made of
        for place, content in ((device.SERIAL, "10000000abcdef01"), (device.MACHINE, "0" * 32)):
            (Path(made) / place).parent.mkdir(parents=True)
            (Path(made) / place).write_text(content)
        device.name(template, f"{inside}: device.id", Path(made))
