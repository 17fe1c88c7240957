"""Makes a signed bundle of a model's folder: proves the model, lists its files, signs the list.

The same folder, serial, time and key give the same bytes: Ed25519 has no chance in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from edge import files
from edge.config import ModelConfig
from edge.errors import EdgeError, ModelError
from edge.model.card import MODEL_MAX_BYTES
from edge.model.engine import start
from edge.model.signed import archive, keys, manifest
from edge.model.signed.manifest import FILE, SIGNATURE, Manifest, Member
from edge.model.source import regular
from edge.model.store import check_name

SUFFIX: Final = ".edgemodel"


@dataclass(frozen=True, slots=True)
class Terms:
    """What the maker decides. serial: 0 for the time in seconds; expires: Unix time."""

    serial: int = 0
    expires: int | None = None
    devices: tuple[str, ...] = ()


def make(folder: Path, key: Path, terms: Terms, out: Path | None) -> tuple[Path, Manifest]:
    """Write the bundle of the model in ``folder``; return where it is. Raises EdgeError.

    out  None for NAME-VERSION.edgemodel in the working directory
    """
    card = start(ModelConfig(path=f"{folder.resolve()}")).card
    check_name(f"{card.name}@{card.version or 1}", str(folder))
    now = int(time.time())
    try:
        what = msgspec.convert(
            {
                "name": card.name,
                "version": card.version or "1",
                "serial": terms.serial or now,
                "created": now,
                "expires": terms.expires,
                "devices": terms.devices,
                "files": [msgspec.to_builtins(one) for one in _members(folder)],
            },
            Manifest,
        )
    except msgspec.ValidationError as exc:
        raise ModelError(f"cannot be signed: {exc}", where=str(folder)) from exc
    manifest.check(what, str(folder))
    manifest.check_card(what, card, str(folder))
    content = manifest.encode(what)
    signature = keys.sign(content, key)
    out = out or Path(f"{what.name}-{what.version}{SUFFIX}")
    part = out.with_name(f"{out.name}.part")
    try:
        with part.open("wb") as file:
            archive.write(file, content, signature, _contents(folder, what))
            file.flush()
            os.fsync(file.fileno())
        part.replace(out)
    except EdgeError:
        raise
    except OSError as exc:
        raise EdgeError(f"cannot be written: {exc.strerror}", where=str(out)) from exc
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return out, what


def _members(folder: Path) -> Iterator[Member]:
    """Yield the files of a folder; the list of an earlier signature is not one of them."""
    for path in regular(folder):
        if path.name not in (FILE, SIGNATURE):
            content = _read(path)
            yield Member(path.name, len(content), hashlib.sha256(content).hexdigest())


def _contents(folder: Path, what: Manifest) -> Iterator[tuple[str, bytes]]:
    for member in what.files:
        content = _read(folder / member.name)
        if hashlib.sha256(content).hexdigest() != member.sha256:
            raise ModelError("has changed while it was being signed", where=member.name)
        yield member.name, content


def _read(path: Path) -> bytes:
    try:
        return files.read(path, MODEL_MAX_BYTES)
    except OSError as exc:
        raise ModelError(f"cannot be read: {exc.strerror}", where=str(path)) from exc
