"""``edge.toml`` becomes a frozen, typed config; a fault is one line with file, key and hint.

Three layers, a later one over the earlier: the file, the settings persisted by a ``set`` request,
the command line.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from pathlib import Path
from typing import Any, Final

import msgspec

from edge import toml
from edge.config import device
from edge.config.cases import CasesConfig
from edge.config.secrets import without_credentials
from edge.config.tables import FILE_ALONE, TABLES, CameraConfig, Config, MqttConfig, SpoolConfig
from edge.errors import ConfigError, boundary
from edge.messages import unbracketed
from edge.text import escaped

log = logging.getLogger(__name__)
SERVICE_CONFIG: Final = Path("/etc/edge-camera/edge.toml")
SERVICE_STATE: Final = Path("/var/lib/edge-camera")
"""The service's config and its state directory."""
Tables = dict[str, dict[str, Any]]
"""Table -> key -> value."""
HOST_MAX: Final = 253
"""Characters of a name. Source: RFC 1035, 3.1."""


def load(
    path: Path | None, overrides: Tables | None = None, settings: Tables | None = None
) -> Config:
    """Return the config in ``path`` (None: the defaults), with the other two layers over it.

    overrides  from the command line
    settings   persisted by a request; ignored, with a warning, where they do not fit
    Raises ConfigError.
    """
    return layered(path, read_tables(path), overrides, settings)


def read_tables(path: Path | None) -> dict[str, Any]:
    """Return the tables in ``path``, none for None; not checked. Raises ConfigError."""
    with boundary(ConfigError, "the config cannot be used", str(path)):
        return toml.read(path, ConfigError) if path else {}


def layered(
    path: Path | None,
    tables: dict[str, Any],
    overrides: Tables | None = None,
    settings: Tables | None = None,
) -> Config:
    """Return what ``load`` does, of the ``tables`` that ``read_tables`` has returned."""
    where = str(path) if path else "defaults"
    with boundary(ConfigError, "the config cannot be used", where):
        if settings:
            settings = {name: keys for name, keys in settings.items() if name not in FILE_ALONE}
            try:
                convert(over(tables, settings), where)
            except ConfigError as exc:
                convert(tables, where)  # raises where the fault is the file's
                log.warning("persisted settings are ignored: %s", exc)
            else:
                tables = over(tables, settings)
        if overrides and any(overrides.values()):
            tables, where = over(tables, overrides), f"{where} and command line"
        return convert(tables, where)


def change(config: Config, tables: Tables) -> Config:
    """Return ``config`` with ``tables`` over it. Raises ConfigError, naming the key."""
    with boundary(ConfigError, "cannot be set", "set"):
        return convert(over(msgspec.to_builtins(config), tables), "set")


def over(below: dict[str, Any], above: Tables) -> dict[str, Any]:
    """Return ``below`` with its keys replaced by those of ``above``."""
    result = dict(below)
    for table, keys in above.items():
        mine = result.get(table, {})
        if keys and isinstance(mine, dict):
            result[table] = {**mine, **keys}
    return result


def convert(tables: dict[str, Any], where: str) -> Config:
    """Return ``tables`` as a config whose keys agree with each other. Raises ConfigError."""
    config = toml.convert(tables, Config, where, ConfigError)
    for name in TABLES:
        getattr(config, name).check(f"{where}: {name}")
    check_topic(config.mqtt.base_topic, f"{where}: mqtt.base_topic")
    check_topic(config.homeassistant.prefix, f"{where}: homeassistant.prefix")
    for table, user in (("mqtt", config.mqtt.username), ("camera", config.camera.username)):
        check_user(user, f"{where}: {table}.username")
    check_broker(config.mqtt, where)
    check_camera(config.camera, where)
    name = device.name(config.device.id, f"{where}: device.id")
    return msgspec.structs.replace(
        config,
        device=msgspec.structs.replace(config.device, id=name),
        mqtt=msgspec.structs.replace(
            config.mqtt,
            host=unbracketed(config.mqtt.host),
            username=config.mqtt.username.replace("{id}", name),
        ),
        camera=msgspec.structs.replace(
            config.camera, username=config.camera.username.replace("{id}", name)
        ),
    )


def check_topic(topic: str, where: str) -> None:
    """Raise ConfigError where ``topic`` holds invisible characters."""
    if not topic.isprintable():  # a mark of direction, a lone surrogate, an unassigned character
        raise ConfigError("invisible character", where=where, expected="plain text", got=topic)


def check_host(host: str, where: str) -> None:
    """Raise ConfigError unless ``host`` can be a host name or address; IPv6 may have brackets."""
    try:
        bare = unbracketed(host)
        valid = len(bare) <= HOST_MAX and bare.isprintable()
        valid = valid and not re.search(r"[\s@/\\?#\[\]]", bare)
        if valid and (":" in bare or bare != host):
            ipaddress.IPv6Address(bare)
        elif valid:
            bare.encode("idna")
            valid = bool(bare) and "%" not in bare
    except ValueError:  # UnicodeError included
        valid = False
    if not valid:
        raise ConfigError(
            "not a host",
            where=where,
            expected="only a name or an address",
            got=escaped(without_credentials(host.rpartition("@")[2]), HOST_MAX),
            hint="port, user name and password_file have keys of their own in [mqtt]",
        )


def check_user(name: str, where: str) -> None:
    """Raise ConfigError unless ``name`` is text: a command line may hold any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError as exc:
        raise ConfigError("not UTF-8", where=where, got=name) from exc


def check_broker(config: MqttConfig, where: str) -> None:
    """Raise ConfigError where keys of [mqtt] contradict each other."""
    check_host(config.host, f"{where}: mqtt.host")
    if config.password_file and not config.username:
        raise ConfigError("password without a user name", where=f"{where}: mqtt.username")
    for key in ("ca_file", "cert_file", "key_file", "accept_any_certificate"):
        if getattr(config, key) and not config.tls:
            raise ConfigError(
                f"`{key}` without TLS", where=f"{where}: mqtt.{key}", hint="set mqtt.tls = true"
            )
    if config.accept_any_certificate and config.ca_file:
        raise ConfigError(
            "`ca_file` would be ignored",
            where=f"{where}: mqtt.accept_any_certificate",
            hint="remove one of the two",
        )
    if config.key_file and not config.cert_file:
        raise ConfigError("a key without its certificate", where=f"{where}: mqtt.cert_file")


def check_camera(config: CameraConfig, where: str) -> None:
    """Raise ConfigError where keys of [camera] contradict each other."""
    left, top, width, height = config.roi
    if not (width > 0 and height > 0 and left + width <= 1 + 1e-9 and top + height <= 1 + 1e-9):
        raise ConfigError(
            "not a part of the picture",
            where=f"{where}: camera.roi",
            expected="left, top, width, height as shares: a width and a height above 0, inside 1",
            got=str(list(config.roi)),
        )
    if config.username and "://" not in config.source:
        raise ConfigError(
            "a user name for a source that is not a stream",
            where=f"{where}: camera.username",
            expected="camera.source = rtsp://... or http://...",
            got=escaped(config.source, HOST_MAX),
        )
    if config.password_file and not config.username:
        raise ConfigError("password without a user name", where=f"{where}: camera.username")
    if config.username and "@" in config.source.partition("://")[2].partition("/")[0]:
        raise ConfigError(
            "two user names",
            where=f"{where}: camera.username",
            hint="remove the one in camera.source",
        )


def state_folder() -> Path | None:
    """Return systemd's state directory, which outlives the process; None without one."""
    # systemd's list; ours is the first
    folder = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(folder) if folder else None


def spool_path(config: SpoolConfig) -> Path | None:
    """Return the file in which events wait; None for memory."""
    if config.path != "auto":
        return Path(config.path) if config.path else None
    folder = state_folder()
    return folder / "spool.db" if folder else None


def cases_path(config: CasesConfig, state: Path | None = None) -> Path:
    """Return the folder of the cases. state: instead of systemd's. Raises ConfigError."""
    if config.path != "auto":
        return Path(config.path)
    folder = state or state_folder()
    if folder is None:
        raise ConfigError(
            "cases have no folder",
            where="cases.path",
            expected="a folder, or a state directory of systemd",
            hint="set cases.path",
        )
    return folder / "cases"
