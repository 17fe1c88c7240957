"""The manifest of a signed bundle: all that is signed. The files are bound by their checksums.

It is decoded only after its signature has been verified. Pure.
"""

from __future__ import annotations

import fnmatch
import hashlib
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from edge.errors import ModelError
from edge.model import installed
from edge.model.card import MODEL_MAX_BYTES, ModelCard
from edge.model.source import FILES_MAX
from edge.model.store import BYTES_MAX

FILE: Final = installed.MANIFEST
SIGNATURE: Final = installed.SIGNATURE
"""Names of the first two members; kept beside an installed model."""
MANIFEST_MAX: Final = 65_536
FORMAT: Final = "edge-camera signed model 1"
"""In every manifest: a signature of this key on anything else is none on a model."""
SERIAL_MAX: Final = 1 << 53
"""JSON numbers are exact up to it."""
FILE_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z"

Serial = Annotated[int, Meta(ge=1, le=SERIAL_MAX)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the model's folder."""

    name: Annotated[str, Meta(pattern=FILE_NAME)]
    size: Annotated[int, Meta(ge=0, le=MODEL_MAX_BYTES)]
    sha256: Sha256


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is signed.

    name, version   as in the model's card
    serial          greater than that of every bundle of this name before
    created         Unix time, for people
    expires         Unix time from which it is refused; by the device's clock
    devices         patterns of device ids, ``*`` and ``?``; empty: every device
    files           of the folder, in the order of the archive
    """

    format: Literal["edge-camera signed model 1"] = FORMAT
    name: Annotated[str, Meta(min_length=1, max_length=64)]
    version: Annotated[str, Meta(min_length=1, max_length=32)]
    serial: Serial
    created: Annotated[int, Meta(ge=0, le=SERIAL_MAX)]
    expires: Annotated[int, Meta(ge=1, le=SERIAL_MAX)] | None = None
    devices: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...], Meta(max_length=1000)
    ] = ()
    files: Annotated[tuple[Member, ...], Meta(min_length=1, max_length=FILES_MAX)]

    @property
    def reference(self) -> str:
        """NAME@VERSION."""
        return f"{self.name}@{self.version}"

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(member.size for member in self.files)


def encode(manifest: Manifest) -> bytes:
    """Return what is signed. Raises ModelError where it has too much in it."""
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
    if len(content) > MANIFEST_MAX:
        raise ModelError(
            "the manifest is too large",
            where=manifest.reference,
            expected=f"at most {MANIFEST_MAX} bytes",
            got=str(len(content)),
            hint="fewer files, or fewer --devices",
        )
    return content


def decode(content: bytes, where: str) -> Manifest:
    """Return the manifest in ``content``, whose signature was verified. Raises ModelError."""
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ModelError(f"the manifest is not valid: {exc}", where=where) from exc
    check(manifest, where)
    return manifest


def check(manifest: Manifest, where: str) -> None:
    """Raise ModelError where the manifest's own entries contradict each other."""
    names = [member.name for member in manifest.files]
    if "@" in manifest.name or not installed.is_name(manifest.reference):
        raise ModelError(
            "the name cannot be a folder's",
            where=where,
            expected="name and version of letters, digits, `.`, `_` and `-`",
            got=manifest.reference,
        )
    if len({*names}) != len(names) or {FILE, SIGNATURE} & {*names}:
        twice = next((name for name in names if names.count(name) > 1), FILE)
        raise ModelError("the manifest lists a file twice, or itself", where=where, got=twice)
    if installed.CARD not in names:
        raise ModelError("the manifest lists no card", where=where, expected=installed.CARD)
    if manifest.bytes > BYTES_MAX:
        raise ModelError(
            "the files are too large together",
            where=where,
            expected=f"at most {BYTES_MAX} bytes",
            got=str(manifest.bytes),
        )


def check_card(manifest: Manifest, card: ModelCard, where: str) -> None:
    """Raise ModelError where a card is not the manifest's, or names a file that was not signed."""
    if (card.name, card.version or "1") != (manifest.name, manifest.version):
        raise ModelError(
            "the card has another name or version than the manifest",
            where=where,
            expected=manifest.reference,
            got=f"{card.name}@{card.version or 1}",
        )
    named = {
        card.file,
        card.head.file if card.head else "",
        card.baseline.file if card.baseline else "",
        card.golden.picture if card.golden else "",
    }
    listed = {member.name for member in manifest.files}
    if strange := sorted(named - listed - {""}):
        raise ModelError(
            "the card names a file that is not in the bundle",
            where=where,
            expected=f"one of {', '.join(sorted(listed))}",
            got=strange[0],
        )


def check_use(manifest: Manifest, device: str, now: float, where: str) -> None:
    """Raise ModelError where the bundle is not for this device, or not any more."""
    if manifest.expires is not None and now >= manifest.expires:
        ended = datetime.fromtimestamp(min(manifest.expires, 1 << 37), UTC)
        raise ModelError(
            "the bundle has expired",
            where=where,
            got=f"{ended:%Y-%m-%d %H:%M:%S} UTC",
            hint="sign it again, or set this device's clock",
        )
    if manifest.devices and not any(
        fnmatch.fnmatchcase(device, pattern) for pattern in manifest.devices
    ):
        listed = ", ".join(manifest.devices[:5])
        raise ModelError(
            "the bundle is for other devices", where=where, expected=listed, got=device
        )


def digest(content: bytes) -> str:
    """Return the SHA-256 of a manifest: what a bundle is known by."""
    return hashlib.sha256(content).hexdigest()
