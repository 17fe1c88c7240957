"""Takes cases out of a tar file, trusted or not: all of them, or an error and nothing.

Rule 1: a member is ``LABEL/NAME.jpg``, ``LABEL/NAME.json`` or the folder ``LABEL``; a link, a
        device, a sparse file or any other name refuses the whole archive.
Rule 2: everything is bounded before it is held: members, bytes of each and of all, and what the
        reader of headers asks for.
Rule 3: files are written into a folder of their own and moved once the archive has been read to its
        end; a process that ends before that leaves rubbish, which tidy.py removes.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import Iterator
from typing import Final

import numpy as np

from edge.cases import names
from edge.cases import sidecar as sidecars
from edge.cases.archive import PICTURE_MAX_BYTES
from edge.cases.folder import Folder
from edge.cases.index import CASES_MAX
from edge.cases.names import PICTURE, SIDECAR
from edge.cases.store import LOCK_S, Store
from edge.cases.tidy import STAGING, clear
from edge.errors import EdgeError, boundary
from edge.pictures.headers import read_header

HEADER_MAX_BYTES: Final = 65_536
"""That the reader may ask for to find the next member; of ours it needs 2,560 bytes at most."""
CHUNK_BYTES: Final = 65_536
ENDING_BYTES: Final = 1_048_576
"""Of zeros at the end of an archive, and of headers where pictures are small."""
MEMBERS_MAX: Final = 2 * CASES_MAX + names.LABELS_MAX
PIXELS_MAX: Final = 16_000_000
_ENDINGS: Final = {PICTURE: PICTURE_MAX_BYTES, SIDECAR: sidecars.MAX_BYTES}


class _Reader(io.RawIOBase):
    """A file of which no more is read than was allowed: a header may be endless, or a circle."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file, self._left = file, HEADER_MAX_BYTES

    def allow(self, size: int) -> None:
        """Allow ``size`` bytes, and no more, from now on."""
        self._left = size

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes. Raises tarfile.ReadError beyond what is allowed."""
        if not 0 <= size <= self._left:
            raise tarfile.ReadError(f"{size} bytes more of a header: too long")
        self._left -= size
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to ``offset``."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return where it is."""
        return self._file.tell()


def take(store: Store, file: io.BufferedReader, where: str, bytes_max: int) -> tuple[int, int]:
    """Take the cases of ``file``; return how many are new, and how many were there already.

    file, where  a regular file, and its name
    store      not locked; it is in the end, until it is closed
    bytes_max  of all cases together, sorted ones included
    Raises EdgeError, OSError; nothing is changed then.
    """
    with _staging(store) as staging:
        size = os.fstat(file.fileno()).st_size
        if size > 2 * bytes_max + ENDING_BYTES:
            raise _refused(where, f"{size} bytes: expected at most {2 * bytes_max}")
        with boundary(EdgeError, "not an archive of cases", where):
            try:
                cases = _unpack(_Reader(file), staging, where, bytes_max)
            except OSError as exc:
                what = f"the archive cannot be unpacked: {exc.strerror or exc}"
                raise EdgeError(what, where=where) from exc
        store.root.lock(LOCK_S)
        return _commit(store, staging, cases, bytes_max)


@contextlib.contextmanager
def _staging(store: Store) -> Iterator[Folder]:
    """Yield an empty folder, which is gone in the end."""
    name = f"{STAGING}{os.getpid()}"
    folder = store.root.sub(name, create=True)
    try:
        folder.lock(0.0)
        clear(folder)
        yield folder
    finally:
        with contextlib.suppress(OSError):
            clear(folder)
            store.root.remove_sub(name)
        folder.close()


def _unpack(
    reader: _Reader, staging: Folder, where: str, bytes_max: int
) -> dict[str, tuple[str, set[str]]]:
    """Write every member into ``staging``; return name -> class and endings."""
    cases: dict[str, tuple[str, set[str]]] = {}
    labels: set[str] = set()
    total = 0
    with tarfile.open(fileobj=reader, mode="r:") as tar:
        for count, member in enumerate(_members(tar, reader), 1):
            if count > MEMBERS_MAX:
                raise _refused(where, f"more than {MEMBERS_MAX} members")
            label, name, ending = _place(member, where)
            if not label:
                continue
            labels.add(label)
            if len(labels) > names.LABELS_MAX:
                raise _refused(where, f"more than {names.LABELS_MAX} classes")
            if not name:
                continue
            total += member.size
            if total > bytes_max:
                text = f"expected at most {bytes_max} bytes of cases (cases.bytes)"
                raise _refused(where, f"does not fit: {text}")
            mine = cases.setdefault(name, (label, set()))
            if mine[0] != label or ending in mine[1]:
                raise _refused(where, "a case that is in it twice", member.name)
            mine[1].add(ending)
            content = _checked(_content(tar, reader, member, where), ending, member.name, where)
            folder = staging.sub(label, create=True)
            try:
                folder.write(name + ending, content)
            finally:
                folder.close()
        reader.allow(tarfile.BLOCKSIZE)
        reader.seek(tar.offset)  # the library takes a damaged header for the end
        if reader.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise _refused(where, "it is truncated or damaged")
    for name, (label, endings) in cases.items():
        if PICTURE not in endings:
            raise _refused(where, "a side-car without its picture", f"{label}/{name}{SIDECAR}")
    if not cases:
        raise _refused(where, "no cases in it")
    return cases


def _members(tar: tarfile.TarFile, reader: _Reader) -> Iterator[tarfile.TarInfo]:
    """Yield the members; forget each one, or a long archive would fill the memory."""
    while (member := tar.next()) is not None:
        yield member
        tar.members.clear()  # type: ignore[attr-defined]
        reader.allow(HEADER_MAX_BYTES)


def _place(member: tarfile.TarInfo, where: str) -> tuple[str, str, str]:
    """Return class, case and ending of a member, empty for what has none. Raises EdgeError."""
    path = member.name.removeprefix("./")  # as `tar -C DIR .` writes them
    if member.isdir():
        label, name, ending = path.removesuffix("/"), "", ""
        if label in ("", "."):
            return "", "", ""
    else:
        label, _, file = path.partition("/")
        name, ending = os.path.splitext(file)
        if not member.isreg() or member.issparse():
            raise _refused(where, "a link, a device or a sparse file", member.name)
        if ending not in _ENDINGS or not names.is_name(name):
            raise _refused(where, "a member that is no LABEL/NAME.jpg or .json", member.name)
        if not 0 < member.size <= _ENDINGS[ending]:
            size = f"{member.size} bytes: expected 1 to {_ENDINGS[ending]}"
            raise _refused(where, size, member.name)
    if not names.is_label(label) or label == names.UNSORTED:
        raise _refused(where, "a folder that cannot be a class", member.name)
    return label, name, ending


def _content(tar: tarfile.TarFile, reader: _Reader, member: tarfile.TarInfo, where: str) -> bytes:
    reader.allow(member.size + CHUNK_BYTES)  # a buffer may ask for more
    stream = tar.extractfile(member)
    parts: list[bytes] = []
    left = member.size
    while stream and left and (part := stream.read(min(left, CHUNK_BYTES))):
        parts.append(part)
        left -= len(part)
    if left:
        raise _refused(where, "it is truncated", member.name)
    return b"".join(parts)


def _checked(content: bytes, ending: str, member: str, where: str) -> bytes:
    """Return what is written of a file. Raises EdgeError for what is no picture or no side-car."""
    if ending == PICTURE:
        header = read_header(np.frombuffer(content, np.uint8))
        if header is None or header.kind != "jpeg" or header.pixels > PIXELS_MAX:
            raise _refused(where, f"no JPEG of at most {PIXELS_MAX} pixels", member)
        return content
    try:
        return sidecars.encode(sidecars.decode(content))
    except ValueError as exc:
        raise _refused(where, f"no side-car: {exc}", member) from exc


def _commit(
    store: Store, staging: Folder, cases: dict[str, tuple[str, set[str]]], bytes_max: int
) -> tuple[int, int]:
    """Move the cases to their classes, each at once. Raises EdgeError, OSError before the first."""
    classes = store.labels()
    taken = {name for label in ("", *classes) for name in store.names(label)}
    new = {name: case for name, case in cases.items() if name not in taken}
    labels = {label for label, _ in new.values()} | set(classes)
    held, there = store.sorted_size()
    added = 0
    for name, (label, endings) in new.items():
        folder = staging.sub(label)
        try:
            added += sum(folder.size(name + ending) or 0 for ending in endings)
        finally:
            folder.close()
    if held + added > bytes_max or there + len(new) > CASES_MAX or len(labels) > names.LABELS_MAX:
        raise EdgeError(
            "the archive does not fit beside what is sorted",
            where=str(store.path),
            expected=f"at most {bytes_max} bytes (cases.bytes), {CASES_MAX} cases and"
            f" {names.LABELS_MAX} classes",
            got=f"{held + added} bytes, {there + len(new)} cases, {len(labels)} classes",
        )
    for label in sorted({label for label, _ in new.values()}):
        source = staging.sub(label)
        try:
            with store.folder(label, create=True) as to:
                for name, (mine, endings) in new.items():
                    for ending in sorted(endings if mine == label else (), reverse=True):
                        source.move(name + ending, to, name + ending)  # .json, then .jpg
                to.sync()
        finally:
            source.close()
    return len(new), len(cases) - len(new)


def _refused(where: str, what: str, member: str = "") -> EdgeError:
    return EdgeError(f"the archive is refused: {what}", where=where, got=member)
