"""From a row and CONFIG to the files of one device.

A row is CONFIG with other values: the same checks, and the same files as those that `make image`
writes. Knows neither the ledger nor the authority.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

import msgspec

from deploy.credentials.authority import openssl
from deploy.credentials.rows import SECRETS, Row
from deploy.image import config as sites
from deploy.image.config import Broker, Camera, Site, Wifi
from deploy.image.files import files
from deploy.runtime.pins import BuildError
from edge import files as reader
from edge import toml
from edge.errors import ConfigError

KEYS: Final = {
    "system.hostname": "host",
    "user.ssh_keys": "ssh_key",
    "wifi.country": "wifi_country",
    "wifi.ssid": "wifi_ssid",
    "wifi.password": "wifi_password",
    "camera.password": "camera_password",
    "edge.camera.source": "camera",
    "edge: camera.source": "camera",
    "edge: camera.username": "camera_username",
}
"""Key of CONFIG -> the column that sets it."""
ITERATIONS: Final = 101
"""As mosquitto_passwd: the broker computes them at each login."""
SALT_BYTES: Final = 12
"""The one length that mosquitto 2.0 accepts."""


def check_site(site: Site, where: str, auth: str) -> None:
    """Raise ConfigError where CONFIG has what each device must have of its own, or lacks TLS."""
    for key in ("password", "cert_file", "key_file"):
        if getattr(site.broker, key):
            raise ConfigError(
                "one credential for all devices",
                where=f"{where}: broker.{key}",
                expected="none: each row has its own",
            )
    if auth == "certificate" and not site.edge.get("mqtt", {}).get("tls"):
        raise ConfigError("certificates need TLS", where=f"{where}: edge.mqtt.tls", expected="true")


def of_row(row: Row, site: Site, credential: dict[str, str], ca: str) -> Site:
    """Return the device's CONFIG, checked. Raises ConfigError.

    credential  its password, or its cert and key
    ca          the authority of the broker's certificate, PEM; empty for the system's
    """
    cells = row.cells
    wifi, camera, edge = site.wifi, site.camera, {k: dict(v) for k, v in site.edge.items()}
    try:
        if "wifi_ssid" in cells:
            country = cells.get("wifi_country") or wifi.country
            tables: dict[str, Any] = {"country": country, "ssid": cells["wifi_ssid"]}
            tables["password"] = cells.get("wifi_password", "")
            wifi = toml.convert({"wifi": tables}, _OfWifi, row.where, ConfigError).wifi
        if "camera_password" in cells:
            camera = Camera(cells["camera_password"])
        for column, key in (("camera", "source"), ("camera_username", "username")):
            if column in cells:
                edge.setdefault("camera", {})[key] = cells[column]
        keys = site.user.ssh_keys + ((cells["ssh_key"],) if "ssh_key" in cells else ())
        edge.setdefault("device", {})["id"] = row.name
        if "password" in credential:
            edge.setdefault("mqtt", {})["username"] = row.username
        broker = Broker(
            ca_file=ca,
            cert_file=credential.get("cert", ""),
            key_file=credential.get("key", ""),
            password=credential.get("password", ""),
        )
        made = msgspec.structs.replace(
            site,
            secrets=True,  # they go onto an SD card, into no image
            system=msgspec.structs.replace(site.system, hostname=row.host),
            user=msgspec.structs.replace(site.user, ssh_keys=keys),
            wifi=wifi,
            camera=camera,
            broker=broker,
            edge=edge,
        )
        return sites.checked(made, row.where)
    except ConfigError as exc:
        raise _of_column(row, exc) from None


class _OfWifi(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    wifi: Wifi


def packed(site: Site) -> str:
    """Return the files of a device as JSON: those of both kinds of SD card, and each one's own."""
    kinds = {
        kind: [[file.path, file.mode, file.content] for file in files(site, kind)]
        for kind in ("networkd", "NetworkManager")
    }
    common = [file for file in kinds["networkd"] if file in kinds["NetworkManager"]]
    own = {kind: [file for file in all_ if file not in common] for kind, all_ in kinds.items()}
    return json.dumps({"files": common, **own}, ensure_ascii=False)


def given(row: Row, folder: Path) -> dict[str, str]:
    """Return the credential that a row has; empty where one is to be made. Raises ConfigError."""
    if "password" in row.cells:
        return {"password": row.cells["password"]}
    if "cert" not in row.cells:
        return {}
    credential = {}
    for column in ("cert", "key"):
        try:
            text = reader.read_text(folder / row.cells[column]).replace("\r\n", "\n")
        except OSError as exc:
            raise row.fault(f"cannot be read: {exc.strerror}", column) from exc
        credential[column] = text
    check_pair(row, credential["cert"], credential["key"])
    return credential


def check_pair(row: Row, cert: str, key: str) -> None:
    """Raise ConfigError unless they are a valid certificate of this device, and its key."""
    public = {}
    for column, text, command in (
        ("cert", cert, ("x509", "-noout", "-pubkey")),
        ("key", key, ("pkey", "-pubout", "-passin", "pass:")),
    ):
        try:
            public[column] = openssl(*command, given=text)
        except BuildError as exc:
            what = "a certificate" if column == "cert" else "a private key without a passphrase"
            raise row.fault("wrong kind of file", column, expected=f"PEM with {what}") from exc
    if public["cert"] != public["key"]:
        raise row.fault("not the key of this certificate", "key")
    name = "multiline,utf8,-esc_msb,-align"
    subject = openssl("x509", "-noout", "-subject", "-nameopt", name, given=cert).splitlines()
    if f"commonName = {row.name}" not in (line.strip() for line in subject):
        expected = f"the common name {row.name}, by which the broker knows the device"
        raise row.fault("a certificate for another device", "cert", expected=expected)
    if "will expire" in openssl("x509", "-noout", "-checkend", "0", given=cert, accepted=(0, 1)):
        raise row.fault("an expired certificate", "cert")


def hashed(username: str, password: str) -> str:
    """Return a line of mosquitto's file of passwords. Source: mosquitto_passwd(1), `$7$`."""
    salt = os.urandom(SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
    encoded = (base64.b64encode(part).decode() for part in (salt, digest))
    return f"{username}:$7${ITERATIONS}${'$'.join(encoded)}\n"


def _of_column(row: Row, exc: ConfigError) -> ConfigError:
    """Return an error of CONFIG as that of the row's column, without a secret."""
    key = exc.where.removeprefix(f"{row.where}: ").partition("[")[0]
    column = KEYS.get(key, "")
    if column not in row.cells and column != "host":
        return ConfigError(
            exc.what, where=exc.where, expected=exc.expected, got=exc.got, hint=exc.hint
        )
    got = "" if column in SECRETS or column == "camera" else exc.got
    where = f"{row.where}, column {column}"
    return ConfigError(exc.what, where=where, expected=exc.expected, got=got, hint=exc.hint)
