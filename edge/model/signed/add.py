"""Adds a signed bundle: every check in its order, then the proof that any model must pass.

Rule 1: nothing of a bundle is decoded or kept before a trusted key has signed its manifest.
Rule 2: whatever is refused, the store and the record of serials are as they were.
Rule 3: the record is written before the model gets its name; see ``serials``.

A bundle that is there already is checked like any other, and changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge import files
from edge.config import Config, ModelConfig
from edge.errors import ModelError
from edge.model import installed, store
from edge.model.signed import keys, manifest, serials
from edge.model.signed.archive import Archive, Read
from edge.model.signed.manifest import FILE, MANIFEST_MAX, SIGNATURE, Manifest
from edge.model.workspace import locked, tidy, workspace, writing

PART: Final = "model"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a bundle must meet on this device.

    model            [model]: how it is proven
    keys             that are trusted
    device           this one's id
    sha256           of the whole file; empty: any
    allow_downgrade  the serial and the version may be older
    """

    model: ModelConfig
    keys: list[keys.Key]
    device: str
    sha256: str = ""
    allow_downgrade: bool = False


@dataclass(frozen=True, slots=True)
class Added:
    """What was added. key: id of the one that signed it; changed: it was not there before."""

    name: str
    bytes: int
    serial: int
    key: str
    changed: bool


@dataclass(frozen=True, slots=True)
class _Bundle:
    """A bundle whose signature and files were verified. folder: its files, and no others."""

    what: Manifest
    content: bytes
    signature: bytes
    key: keys.Key
    folder: Path

    @property
    def sha256(self) -> str:
        return manifest.digest(self.content)


def policy(config: Config, sha256: str = "", *, allow_downgrade: bool = False) -> Policy:
    """Return the policy of a config. Raises ModelError where no key is trusted."""
    trusted = keys.trusted(Path(config.bundles.keys))
    return Policy(config.model, trusted, config.device.id, sha256, allow_downgrade)


def opened(path: Path) -> AbstractContextManager[Read]:
    """Open a file; return what reads a bundle from it. Raises ModelError."""
    with _reading(path):
        return _reads(files.open_regular(path), path)


@contextlib.contextmanager
def _reads(handle: int, path: Path) -> Iterator[Read]:
    def read(size: int) -> bytes:
        with _reading(path):
            return os.read(handle, size)

    try:
        yield read
    finally:
        os.close(handle)


def add(source: AbstractContextManager[Read], where: str, policy: Policy) -> Added:
    """Add the bundle that ``source`` reads. Raises EdgeError.

    where  of error lines: the file or the address
    """
    tidy()
    with workspace() as folder:
        with source as read:
            bundle = _unpack(Archive(read, where), folder / PART, where, policy)
        card = store.prove(bundle.folder, where, policy.model)
        manifest.check_card(bundle.what, card, where)
        with locked():  # another one may have been added meanwhile
            changed = _accept(bundle, where, policy)
    what = bundle.what
    return Added(what.reference, what.bytes, what.serial, bundle.key.id, changed)


def is_there(what: Manifest, content: bytes) -> bool:
    """Return whether the very bundle of this manifest is installed."""
    try:
        return files.read(installed.added() / what.reference / FILE, MANIFEST_MAX) == content
    except OSError:
        return False


def serial_of(reference: str) -> int | None:
    """Return the serial of an added model; None where it is not signed."""
    try:
        content = files.read(installed.added() / reference / FILE, MANIFEST_MAX)
        return manifest.decode(content, reference).serial
    except (OSError, ModelError):
        return None


def _unpack(archive: Archive, folder: Path, where: str, policy: Policy) -> _Bundle:
    content, signature = archive.signed()
    key = keys.verify(content, signature, policy.keys, where)
    what = manifest.decode(content, where)
    bundle = _Bundle(what, content, signature, key, folder)
    manifest.check_use(what, policy.device, time.time(), where)
    _check(bundle, serials.read(), where, policy)
    with writing(folder):
        folder.mkdir()
        for member in what.files:
            with (folder / member.name).open("xb") as out:
                archive.file(member, out)
                out.flush()
                os.fsync(out.fileno())
    sha256 = archive.end()
    if policy.sha256 and sha256 != policy.sha256.lower():
        raise ModelError(
            "another bundle than the one asked for",
            where=where,
            expected=f"sha256 {policy.sha256}",
            got=sha256,
        )
    return bundle


def _check(bundle: _Bundle, record: serials.Record, where: str, policy: Policy) -> None:
    """Raise ModelError for an older bundle, and where there is no place for it."""
    if not policy.allow_downgrade:
        serials.check(record, bundle.what, bundle.sha256, where)
    if not is_there(bundle.what, bundle.content):
        store.check(bundle.what.reference, where, bundle.what.bytes)


def _accept(bundle: _Bundle, where: str, policy: Policy) -> bool:
    """Write the record, then give the model its name; return whether it was not there."""
    record = serials.read()
    _check(bundle, record, where, policy)
    changed = not is_there(bundle.what, bundle.content)
    if changed:
        with writing(bundle.folder):
            for name, content in ((FILE, bundle.content), (SIGNATURE, bundle.signature)):
                with (bundle.folder / name).open("xb") as out:
                    out.write(content)
                    out.flush()
                    os.fsync(out.fileno())
    serials.accept(record, bundle.what, bundle.sha256)
    if changed:
        store.adopt(bundle.folder, bundle.what.reference, where)
    return changed


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ModelError(f"cannot be read: {exc.strerror}", where=str(path)) from exc
