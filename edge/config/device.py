"""The id of this device: its host name, or made from serial number or machine-id."""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge import files
from edge.errors import ConfigError

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
SERIAL: Final = "proc/device-tree/serial-number"
MACHINE: Final = "etc/machine-id"
MACHINE_ID: Final = re.compile(r"(?!0{32})[0-9A-Fa-f]{32}")
"""See machine-id(5); before the first boot it reads `uninitialized`."""
ID_MAX_BYTES: Final = 4096


def name(template: str, where: str, root: Path = Path("/")) -> str:
    """Return the device's id: ``template`` with {hostname}, {serial} and {machine} filled in.

    template  empty for the host name
    root      of the machine's files
    Raises ConfigError where the machine has no such value, or the result is not a device id.
    """
    values: dict[str, Callable[[], str]] = {
        "hostname": _host_name,
        "serial": lambda: _serial(root),
        "machine": lambda: _machine(root),
    }

    def fill(match: re.Match[str]) -> str:
        key = match[1]
        if key not in values:
            expected = "{" + "}, {".join(values) + "}"
            raise ConfigError(
                "unknown name in braces", where=where, expected=expected, got=match[0]
            )
        if value := values[key]():
            return value
        raise ConfigError(f"this machine has no {key}", where=where, got=template)

    device = re.sub(r"\{([^{}]*)\}", fill, template or "{hostname}")
    if not NAME.fullmatch(device):
        raise ConfigError(
            "not a device id",
            where=where,
            expected="letters, digits, `_.-`, at most 63, a letter or digit first",
            got=device[:80],
        )
    return device


def _host_name() -> str:
    """Return the host name in characters of a device id."""
    name = "".join(
        c if (c.isalnum() and c.isascii()) or c in "-_." else "-" for c in socket.gethostname()
    )
    return name.strip("-_.")[:63] or "edge"


def _serial(root: Path) -> str:
    """Return the last eight digits of the board's serial number, as the Pi's tools print it."""
    try:
        return files.read_text(root / SERIAL, ID_MAX_BYTES).strip("\0\r\n ")[-8:].lower()
    except OSError:
        return ""


def _machine(root: Path) -> str:
    """Return a hash of the machine-id, which itself must stay private. See machine-id(5)."""
    try:
        number = files.read_text(root / MACHINE, ID_MAX_BYTES).strip()
    except OSError:
        return ""
    if not MACHINE_ID.fullmatch(number):
        return ""
    return hashlib.sha256(f"edge-camera {number}".encode()).hexdigest()[:12]
