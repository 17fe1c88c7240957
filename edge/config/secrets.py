"""Passwords and credentials, read where they are needed; the config without them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from edge import files
from edge.config.tables import CameraConfig, Config, MqttConfig
from edge.errors import ConfigError
from edge.messages import Broker, Tls

FILE_MAX_BYTES: Final = 100_000
PASSWORD_MAX_BYTES: Final = 65_535
"""Source: MQTT 5, 3.1.3.6."""


def broker(config: MqttConfig) -> Broker:
    """Return how to reach the broker, with its password."""
    tls = Tls(
        config.ca_file or credential("mqtt-ca"),
        config.cert_file or credential("mqtt-cert"),
        config.key_file or credential("mqtt-key"),
        config.accept_any_certificate,
    )
    return Broker(
        host=config.host,
        port=config.port or (8883 if config.tls else 1883),
        protocol=config.protocol,
        transport=config.transport,
        path=config.websocket_path,
        username=config.username,
        password=password(config),
        tls=tls if config.tls else None,
        keepalive_s=config.keepalive_s,
        reconnect_s=config.reconnect_s,
    )


def source(config: CameraConfig) -> str:
    """Return the camera's source; the URL of a stream with user name and password."""
    if not config.username:
        return config.source
    scheme, mark, rest = config.source.partition("://")
    login = quote(config.username, safe="")
    if secret := password(config):
        login += ":" + quote(secret, safe="")
    return f"{scheme}{mark}{login}@{rest}"


def password(config: MqttConfig | CameraConfig) -> str:
    """Return a password, the first line of its file; empty without one. Raises ConfigError."""
    table = "camera" if isinstance(config, CameraConfig) else "mqtt"
    path = config.password_file
    if not path and config.username:
        path = credential(f"{table}-password")
    if not path:
        return ""
    where = f"{table}.password_file {path}"
    try:
        text = files.read_text(Path(path), FILE_MAX_BYTES)
    except OSError as exc:
        raise ConfigError(f"password file cannot be read: {exc.strerror}", where=where) from exc
    line = text.partition("\n")[0].removesuffix("\r")
    if not line:
        raise ConfigError("password file is empty", where=path)
    if (size := len(line.encode())) > PASSWORD_MAX_BYTES:
        expected = f"at most {PASSWORD_MAX_BYTES} bytes"
        raise ConfigError("password too long", where=where, expected=expected, got=str(size))
    return line


def credential(name: str) -> str:
    """Return the file of systemd's credential ``name``; empty where there is none.

    The unit sets an empty line as the default: LoadCredential= without a file would fail.
    Source: systemd.exec(5), CREDENTIALS_DIRECTORY.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    file = Path(folder) / name if folder else None
    return str(file) if file is not None and file.exists() and file.stat().st_size > 1 else ""


def redacted(config: Config) -> dict[str, Any]:
    """Return the config as plain tables that may be printed: no credential in any URL."""
    tables: dict[str, Any] = msgspec.to_builtins(config)
    tables["camera"]["source"] = without_credentials(config.camera.source)
    for name in ("path", "second"):
        tables["model"][name] = without_credentials(getattr(config.model, name))
    return tables


def without_credentials(source: str) -> str:
    """Return a URL without its user, password and query; anything else in printable form."""
    source = source.encode("utf-8", "backslashreplace").decode()  # a file name may be any bytes
    scheme, mark, rest = source.partition("://")
    if not mark:
        return source
    rest, query, after = rest.partition("?")
    user, at, address = rest.rpartition("@")  # a password may hold a slash
    if "@" in after and not at:  # a password may hold a question mark, a query an @
        return f"{scheme}://***"
    return f"{scheme}://{'***@' if at and user else ''}{address}{'?***' if query else ''}"
