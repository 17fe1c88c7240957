"""The file of a signed bundle: a tar archive that its manifest decides to the last byte.

    manifest.json   what is signed
    manifest.sig    64 bytes
    ...             the files that the manifest lists, in its order

Rule 1: before the signature is verified, two headers of 512 bytes are compared with what they must
        be, and at most MANIFEST_MAX bytes are held. Nothing else is read.
Rule 2: after it, no header is parsed either: each must be the one that this file writes for the
        listed name and size. So there is no link, path, device or second archive to refuse: what is
        not equal is refused.
Rule 3: read once, from the beginning to the end: it may come from a server.

Any tar unpacks it. Source of the layout: POSIX.1-2001, pax, "ustar Interchange Format".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from edge.errors import ModelError
from edge.model.signed.manifest import FILE, MANIFEST_MAX, SIGNATURE, Member

BLOCK: Final = 512
SIGNATURE_BYTES: Final = 64
"""Of Ed25519. Source: RFC 8032, 5.1.6."""
CHUNK: Final = 1 << 20
NUL: Final = b"\x00"
END: Final = bytes(2 * BLOCK)
_SIZE: Final = re.compile(rb"[0-7]{11}\x00\Z")
Read = Callable[[int], bytes]
"""Returns at most so many bytes; none at the end."""


def header(name: str, size: int) -> bytes:
    """Return the 512 bytes before a regular file: mode 0644, owner root, time 0."""
    fields = (
        name.encode("ascii").ljust(100, NUL),
        _octal(0o644, 8),
        _octal(0, 8),
        _octal(0, 8),
        _octal(size, 12),
        _octal(0, 12),
        b" " * 8,
        b"0".ljust(101, NUL),
        b"ustar".ljust(6, NUL),
        b"00",
    )
    block = b"".join(fields).ljust(BLOCK, NUL)
    return block[:148] + _octal(sum(block), 7) + b" " + block[156:]


def _octal(number: int, width: int) -> bytes:
    return (b"%0*o" % (width - 1, number)) + NUL


def padding(size: int) -> bytes:
    """Return the zeros after a file of ``size`` bytes."""
    return bytes(-size % BLOCK)


def write(
    out: BinaryIO, manifest: bytes, signature: bytes, files: Iterator[tuple[str, bytes]]
) -> None:
    """Write an archive."""
    for name, content in ((FILE, manifest), (SIGNATURE, signature), *files):
        out.write(header(name, len(content)))
        out.write(content)
        out.write(padding(len(content)))
    out.write(END)


class Archive:
    """An archive that is read once. Every method raises ModelError for what is not expected.

    read   the source
    where  of error lines
    """

    def __init__(self, read: Read, where: str) -> None:
        self._read, self._where = read, where
        self._all = hashlib.sha256()

    def signed(self) -> tuple[bytes, bytes]:
        """Return the manifest and its signature, neither of them verified."""
        first = self._exactly(BLOCK)
        size = int(first[124:135], 8) if _SIZE.match(first[124:136]) else 0
        if not 0 < size <= MANIFEST_MAX or first != header(FILE, size):
            raise ModelError(
                "not a signed bundle",
                where=self._where,
                expected="a NAME-VERSION.edgemodel of `edge models sign`, or a model's folder",
            )
        manifest = self._exactly(size)
        self._expect(padding(size) + header(SIGNATURE, SIGNATURE_BYTES), SIGNATURE)
        signature = self._exactly(SIGNATURE_BYTES)
        self._expect(padding(SIGNATURE_BYTES), SIGNATURE)
        return manifest, signature

    def file(self, member: Member, out: BinaryIO) -> None:
        """Write the next member, which must be this one, into ``out``."""
        self._expect(header(member.name, member.size), member.name)
        digest, left = hashlib.sha256(), member.size
        while left:
            part = self._some(min(left, CHUNK))
            left -= len(part)
            digest.update(part)
            out.write(part)
        if digest.hexdigest() != member.sha256:
            raise ModelError(
                "the file is not the one that was signed",
                where=f"{self._where}: {member.name}",
                hint="copy the bundle again",
            )
        self._expect(padding(member.size), member.name)

    def end(self) -> str:
        """Return the SHA-256 of the whole archive, which must end here."""
        self._expect(END, "the end")
        if self._read(1):
            raise ModelError("more follows after the end of the bundle", where=self._where)
        return self._all.hexdigest()

    def _expect(self, wanted: bytes, name: str) -> None:
        if self._exactly(len(wanted)) != wanted:
            raise ModelError(
                "the bundle does not go on as its manifest says",
                where=f"{self._where}: {name}",
                hint="copy the bundle again",
            )

    def _exactly(self, size: int) -> bytes:
        parts, left = [], size
        while left:
            parts.append(self._some(left))
            left -= len(parts[-1])
        return b"".join(parts)

    def _some(self, size: int) -> bytes:
        part = self._read(size)
        if not part:
            raise ModelError(
                "the bundle is cut off", where=self._where, hint="copy the bundle again"
            )
        self._all.update(part)
        return part
