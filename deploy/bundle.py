"""A model as it is given to a rollout, a folder or one signed file: its name, and what is sent.

The name is read here, before any device is asked: what a device says is compared with it. A
signature is the device's to verify, by its own keys.

Runs on Debian's own python3: the format's other reader, edge/model/signed, needs libraries.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
import tomllib
from pathlib import Path
from typing import BinaryIO, Final

from deploy.errors import DeployError
from edge import files

MAX_BYTES: Final = 550_000_000
FILES_MAX: Final = 100
SUFFIX: Final = ".edgemodel"
CARD: Final = "model.toml"
MANIFEST: Final = "manifest.json"
MANIFEST_MAX: Final = 65_536
FORMAT: Final = "edge-camera signed model 1"
BLOCK: Final = 512
GIVEN: Final = f"a folder with {CARD}, or a file NAME-VERSION{SUFFIX}"
REFERENCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}@[A-Za-z0-9][A-Za-z0-9_.-]{0,31}\Z")
NOT_NAMES: Final = (".tflite", ".toml")


def of_folder(folder: Path) -> str:
    """Return NAME@VERSION of the card in a folder. Raises DeployError."""
    where = str(folder / CARD)
    try:
        card = tomllib.loads(files.read_text(folder / CARD))
    except (OSError, ValueError, RecursionError) as exc:
        got = getattr(exc, "strerror", None) or str(exc)
        raise DeployError(
            65, "not a model's bundle", where=where, expected=GIVEN, got=got
        ) from None
    return _reference(card.get("name"), card.get("version", "") or "1", where)


def of_file(path: Path) -> str:
    """Return NAME@VERSION of the manifest in a signed bundle. Raises DeployError."""
    where = str(path)
    if not os.path.exists(path):  # false also for a name that is too long
        raise DeployError(66, "no such bundle", where=where, expected=GIVEN)
    if not path.is_file() or path.suffix != SUFFIX or not path.stat().st_size:
        raise DeployError(65, "not a model's bundle", where=where, expected=GIVEN)
    if (size := path.stat().st_size) > MAX_BYTES:
        most = f"at most {MAX_BYTES} bytes"
        raise DeployError(65, "too large", where=where, expected=most, got=str(size))
    try:
        with open(files.open_regular(path), "rb") as stream:
            manifest = _manifest(stream)
        if manifest["format"] != FORMAT:
            raise ValueError("of another format")
        name, version = manifest["name"], manifest["version"]
    except OSError as exc:
        raise DeployError(66, exc.strerror or "cannot be read", where=where) from exc
    except (tarfile.TarError, ValueError, KeyError, TypeError, RecursionError):
        expected = f"an archive that begins with {MANIFEST}, of `edge models sign`"
        raise DeployError(65, "not a signed bundle", where=where, expected=expected) from None
    return _reference(name, version, f"{where}: {MANIFEST}")


def _manifest(stream: BinaryIO) -> dict[str, object]:
    """Return the first member of an archive. Raises ValueError, TarError, RecursionError."""
    header = tarfile.TarInfo.frombuf(stream.read(BLOCK), "ascii", "strict")
    if header.name != MANIFEST or not header.isreg() or not 0 < header.size <= MANIFEST_MAX:
        raise ValueError("another member")
    content = stream.read(header.size)
    if len(content) < header.size:
        raise ValueError("cut off")
    manifest = json.loads(content.decode())
    if not isinstance(manifest, dict):
        raise ValueError("not a manifest")
    return manifest


def _reference(name: object, version: object, where: str) -> str:
    """Return NAME@VERSION, as a device lists it. Raises DeployError for what it would refuse."""
    reference = f"{name}@{version}"
    typed = isinstance(name, str) and isinstance(version, str)
    if not typed or not REFERENCE.match(reference) or reference.endswith(NOT_NAMES):
        raise DeployError(
            65,
            "not a model's name",
            where=where,
            expected="a name and version of letters, digits, `.`, `_` and `-`, as text",
            got=reference[:200],
        )
    return reference


def pack(folder: Path, to: Path) -> None:
    """Write the files of a model's folder as a tar: the same files give the same bytes."""
    try:
        paths = sorted(folder.iterdir())
        size = sum(path.lstat().st_size for path in paths)
        if len(paths) > FILES_MAX or size > MAX_BYTES:
            most = f"at most {FILES_MAX} files and {MAX_BYTES} bytes"
            raise DeployError(65, "too large for a model", where=str(folder), expected=most)
        with tarfile.open(to, "w", format=tarfile.PAX_FORMAT) as archive:
            for path in paths:
                if path.is_symlink() or not path.is_file():
                    raise DeployError(65, "not a plain file of a model", where=str(path))
                member = tarfile.TarInfo(path.name)
                content = files.read(path, MAX_BYTES)
                member.size, member.mode = len(content), 0o644
                archive.addfile(member, io.BytesIO(content))
    except OSError as exc:
        raise DeployError(66, exc.strerror or str(exc), where=str(folder)) from exc
