"""The highest serial that this device has accepted of each name: an older bundle is refused.

    signed.json   {"gate": {"serial": 1795477250, "version": "3", "sha256": "..."}}

Rule 1: it is written before the model gets its name, and only rises. A kill between the two leaves
        a record whose very bundle is accepted once more: `sha256` is that of its manifest.
Rule 2: a record that cannot be read refuses every bundle: it is never taken for an empty one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from edge import files
from edge.errors import ConfigError, ModelError
from edge.model import installed
from edge.model.signed.manifest import Manifest, Serial, Sha256
from edge.model.workspace import sync

NAME: Final = "signed.json"


class Accepted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The bundle with the highest serial of its name. sha256: of its manifest."""

    serial: Serial
    version: str
    sha256: Sha256


Record = dict[str, Accepted]


def place() -> Path:
    """Return the file."""
    return installed.added().parent / NAME


def read() -> Record:
    """Return the record; empty where nothing was accepted yet. Raises ModelError."""
    path = place()
    try:
        return msgspec.json.decode(files.read_text(path), type=Record)
    except FileNotFoundError:
        return {}
    except OSError as exc:
        reason = exc.strerror or str(exc)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        reason = str(exc)
    raise ModelError(
        f"the record of accepted serials cannot be read: {reason}",
        where=str(path),
        hint="restore it; or remove it as root, after which older bundles are accepted again",
    )


def check(record: Record, manifest: Manifest, sha256: str, where: str) -> None:
    """Raise ModelError where the bundle is older than one that was accepted.

    sha256  of its manifest: the very bundle that was accepted last may come again
    """
    last = record.get(manifest.name)
    if last is None or last.sha256 == sha256:
        return
    if manifest.serial <= last.serial:
        raise ModelError(
            "the bundle is not newer than the one that was accepted last",
            where=where,
            expected=f"a serial above {last.serial}",
            got=str(manifest.serial),
            hint="sign it again; or, as root, `edge models add --allow-downgrade`",
        )
    if installed.order(manifest.version) < installed.order(last.version):
        raise ModelError(
            "the version is older than the one that was accepted last",
            where=where,
            expected=f"{last.version} or a later one",
            got=manifest.version,
            hint="change version in model.toml; or, as root, `edge models add --allow-downgrade`",
        )


def accept(record: Record, manifest: Manifest, sha256: str) -> None:
    """Write the record with this bundle in it, unless it has a higher serial. ConfigError."""
    last = record.get(manifest.name)
    if last is not None and (last.serial >= manifest.serial or last.sha256 == sha256):
        return
    version = manifest.version
    if last is not None and installed.order(last.version) > installed.order(version):
        version = last.version  # a downgrade that was allowed once is not one for good
    accepted = Accepted(manifest.serial, version, sha256)
    path = place()
    content = msgspec.json.format(msgspec.json.encode({**record, manifest.name: accepted}))
    try:
        files.replace(path, content + b"\n")
        sync(path.parent)
    except OSError as exc:
        reason = f"the record of accepted serials cannot be written: {exc.strerror}"
        raise ConfigError(reason, where=str(path)) from exc
