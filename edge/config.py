"""``edge.toml`` -> a frozen, typed config; every fault is one line with file, key and mend.

Knows no part it configures. Durations are seconds; sizes are pixels.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edge import toml
from edge.errors import ConfigError

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Interval = Annotated[float, Meta(gt=0, le=86_400)]
Share = Annotated[float, Meta(ge=0, le=1)]
Pixels = Annotated[int, Meta(ge=16, le=8192)]
LOG_LEVELS = Literal["debug", "info", "warning", "error"]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file: an unknown key in it is an error."""


class DeviceConfig(Table, frozen=True):
    """id: the device's name in topics; empty for the host's name."""

    id: Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.-]{0,62})?$")] = ""


class CameraConfig(Table, frozen=True):
    """Where frames come from.

    source           auto, picamera2[:N], /dev/videoN, rtsp://..., http://..., a video file,
                     a folder of images, synthetic
    width, height    asked of a camera; what it gives instead is told in ``info``
    fps              asked of a camera; for a folder, pictures a second
    pace             of files: realtime, or fast for every frame at once
    loop             begin again at the end of a file or folder
    stall_timeout_s  no frame for so long means that the camera has gone
    """

    source: Annotated[str, Meta(min_length=1)] = "auto"
    width: Pixels = 640
    height: Pixels = 480
    fps: Annotated[float, Meta(gt=0, le=240)] = 30.0
    pace: Literal["realtime", "fast"] = "realtime"
    loop: bool = True
    stall_timeout_s: Interval = 10.0


class ModelConfig(Table, frozen=True):
    """What classifies.

    path             a folder with a model.toml, or a .tflite file; empty for the shipped model
    threads          threads inside the interpreter; 0 for all cores
    require_xnnpack  refuse to run an int8 or float model without XNNPACK
    """

    path: str = ""
    threads: Annotated[int, Meta(ge=0, le=64)] = 0
    require_xnnpack: bool = True


class SmoothingConfig(Table, frozen=True):
    """How scores become a label that does not flicker.

    window       frames
    method       mean over the window, or exponential with alpha = 2 / (window + 1)
    enter, exit  smoothed score at which a label comes, and below which it goes
    hold_frames  for so many frames in a row
    """

    window: Annotated[int, Meta(ge=1, le=10_000)] = 10
    method: Literal["mean", "exponential"] = "mean"
    enter: Share = 0.6
    exit: Share = 0.4
    hold_frames: Annotated[int, Meta(ge=1, le=10_000)] = 3


class MqttConfig(Table, frozen=True):
    """The broker. The password is read from a file, never written here.

    keepalive_s    the broker publishes the last will after 1.5 times this silence
    reconnect_s    longest wait between two tries
    """

    host: Annotated[str, Meta(min_length=1)] = "localhost"
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    username: str = ""
    password_file: str = ""
    keepalive_s: Annotated[int, Meta(ge=1, le=3600)] = 30
    reconnect_s: Annotated[int, Meta(ge=1, le=3600)] = 30


class SpoolConfig(Table, frozen=True):
    """Where events wait for the broker.

    path    a file; auto: spool.db in systemd's state directory, where there is one; empty, or
            auto elsewhere: memory alone
    events  at most so many
    bytes   at most so much of payloads; beyond either the oldest gives way
    """

    path: str = "auto"
    events: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    bytes: Annotated[int, Meta(ge=10_000, le=1_000_000_000)] = 10_000_000


class PublishConfig(Table, frozen=True):
    """What is published, and how often.

    result              every prediction, at most ``result_rate`` a second
    state_interval_s    the state again after so long without a change
    telemetry_interval_s  between two telemetry messages
    """

    result: bool = False
    result_rate: Annotated[float, Meta(gt=0, le=240)] = 5.0
    state_interval_s: Interval = 10.0
    telemetry_interval_s: Interval = 10.0


class LogConfig(Table, frozen=True):
    """level: what is written to the journal."""

    level: LOG_LEVELS = "info"


class Config(Table, frozen=True):
    """The whole file; every table and key may be left out."""

    device: DeviceConfig = DeviceConfig()
    camera: CameraConfig = CameraConfig()
    model: ModelConfig = ModelConfig()
    smoothing: SmoothingConfig = SmoothingConfig()
    mqtt: MqttConfig = MqttConfig()
    spool: SpoolConfig = SpoolConfig()
    publish: PublishConfig = PublishConfig()
    log: LogConfig = LogConfig()


def load(path: Path | None, overrides: dict[str, dict[str, Any]] | None = None) -> Config:
    """Return the config in ``path`` (None: the defaults), with ``overrides`` laid over it.

    overrides  table -> key -> value, as given on the command line
    Raises ConfigError.
    """
    tables = toml.read(path, ConfigError) if path else {}
    where = str(path) if path else "defaults"
    for table, keys in (overrides or {}).items():
        if not keys:
            continue
        mine = tables.setdefault(table, {})
        if isinstance(mine, dict):
            mine.update(keys)
            where = where if where.endswith("line") else f"{where} and command line"
    config = toml.convert(tables, Config, where, ConfigError)
    if config.smoothing.exit > config.smoothing.enter:
        raise ConfigError(
            "`exit` is above `enter`",
            where=f"{where}: smoothing.exit",
            expected=f"at most {config.smoothing.enter}",
            got=str(config.smoothing.exit),
            mend="a label must go at a lower score than it comes",
        )
    check_host(config.mqtt.host, f"{where}: mqtt.host")
    if config.mqtt.password_file and not config.mqtt.username:
        raise ConfigError("password without a user name", where=f"{where}: mqtt.username")
    if not config.device.id:
        device = msgspec.structs.replace(config.device, id=_host_name())
        config = msgspec.structs.replace(config, device=device)
    return config


def check_host(host: str, where: str) -> None:
    """Raise ConfigError unless ``host`` can be a host's name or address."""
    try:
        host.encode("idna")
        valid = not re.search(r"[\s@/\\?#]", host)
    except UnicodeError:
        valid = False
    if not valid:
        raise ConfigError(
            "not a host",
            where=where,
            expected="a name or an address alone",
            got=without_credentials(host.rpartition("@")[2]),
            mend="port, user name and password_file have keys of their own in [mqtt]",
        )


def password(config: MqttConfig) -> str:
    """Return the broker's password, the first line of its file; empty where none is set."""
    if not config.password_file:
        return ""
    try:
        lines = Path(config.password_file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(
            f"password file cannot be read: {exc}",
            where=f"mqtt.password_file {config.password_file}",
        ) from exc
    if not lines or not lines[0]:
        raise ConfigError("password file is empty", where=config.password_file)
    return lines[0]


def spool_path(config: SpoolConfig) -> Path | None:
    """Return the file in which events wait; None for memory."""
    if config.path != "auto":
        return Path(config.path) if config.path else None
    # systemd gives a list, of which ours is the first
    folder = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(folder) / "spool.db" if folder else None


def redacted(config: Config) -> dict[str, Any]:
    """Return the config as plain tables that may be shown: no credential in any URL."""
    tables: dict[str, Any] = msgspec.to_builtins(config)
    tables["camera"]["source"] = without_credentials(config.camera.source)
    tables["model"]["path"] = without_credentials(config.model.path)
    return tables


def without_credentials(source: str) -> str:
    """Return a URL without its user, password and query; of anything else what can be shown."""
    source = source.encode("utf-8", "backslashreplace").decode()  # a file name may be any bytes
    scheme, mark, rest = source.partition("://")
    if not mark:
        return source
    rest, query, _ = rest.partition("?")
    user, at, place = rest.rpartition("@")  # a password may hold a slash
    return f"{scheme}://{'***@' if at and user else ''}{place}{'?***' if query else ''}"


def _host_name() -> str:
    name = "".join(
        c if (c.isalnum() and c.isascii()) or c in "-_." else "-" for c in socket.gethostname()
    )
    return name.strip("-_.")[:63] or "edge"
