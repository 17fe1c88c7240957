"""The folder of cases: finds, adds, sorts and removes them; one writer at a time.

Rule 1: the side-car is written first and the picture last; the picture is removed first. At every
        instant a case is whole, or what there is of it is rubbish, which tidy.py removes: a
        side-car alone, or a file that ends in ``.part``.
Rule 2: only ``purge`` and ``sort`` touch what is sorted.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from edge.cases import names
from edge.cases.folder import Folder
from edge.cases.names import PICTURE, SIDECAR, SORTED
from edge.cases.sidecar import MAX_BYTES, SideCar, decode
from edge.errors import EdgeError

LOCK_S: Final = 10.0
"""Longest wait for another process that changes the folder."""
FOLDER_MAX: Final = 100_000
"""Entries of a folder; one with more is not read."""


class Store:
    """An open folder of cases. Use it in a ``with`` block.

    create  make the folder if it is not there; its parents too
    lock    nobody else changes it meanwhile
    Raises OSError, here and everywhere: TimeoutError where another process has the lock.
    """

    def __init__(
        self, path: Path, *, create: bool = False, lock: bool = False, lock_s: float = LOCK_S
    ) -> None:
        self.path = path
        self.created = create and not path.is_dir()
        """It was not there."""
        if self.created:
            _make(path)
        self.root = Folder.open(path)
        try:
            if lock:
                self.root.lock(lock_s)
        except BaseException:
            self.root.close()
            raise

    def __enter__(self) -> Store:
        """Return it."""
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        """Close the folder; release the lock."""
        self.root.close()

    @contextlib.contextmanager
    def folder(self, label: str, create: bool = False) -> Iterator[Folder]:
        """Yield the folder of a class; that of the unsorted ones for an empty ``label``."""
        if not label:
            yield self.root
            return
        classes = self.root.sub(SORTED, create)
        try:
            opened = classes.sub(label, create)
        finally:
            classes.close()
        try:
            yield opened
        finally:
            opened.close()

    def labels(self) -> list[str]:
        """Return the classes there are, in order."""
        try:
            classes = self.root.sub(SORTED)
        except FileNotFoundError:
            return []
        try:
            found = []
            for entry in classes.entries():
                if entry.is_dir(follow_symlinks=False) and names.is_label(entry.name):
                    found.append(entry.name)
                if len(found) > names.LABELS_MAX:
                    raise OSError(errno.EFBIG, f"has more than {names.LABELS_MAX} classes")
        finally:
            classes.close()
        return sorted(found)

    def files(self, folder: Folder) -> Iterator[tuple[str, str, int]]:
        """Yield name, ending and bytes of each file of a case in ``folder``, in no order."""
        for count, entry in enumerate(folder.entries()):
            if count >= FOLDER_MAX:
                raise OSError(errno.EFBIG, f"has more than {FOLDER_MAX} files in a folder")
            name, ending = os.path.splitext(entry.name)
            if ending not in (PICTURE, SIDECAR) or not names.is_name(name):
                continue
            with contextlib.suppress(FileNotFoundError):
                if entry.is_file(follow_symlinks=False):
                    yield name, ending, entry.stat(follow_symlinks=False).st_size

    def names(self, label: str) -> list[str]:
        """Return the cases of a class, oldest first; the unsorted ones for an empty ``label``."""
        with self.folder(label) as folder:
            return sorted(name for name, ending, _ in self.files(folder) if ending == PICTURE)

    def where(self, name: str) -> str | None:
        """Return the class of a case, empty where it is unsorted; None where there is no such."""
        for label in ("", *self.labels()) if names.is_name(name) else ():
            with contextlib.suppress(FileNotFoundError), self.folder(label) as folder:
                if folder.size(name + PICTURE) is not None:
                    return label
        return None

    def picture(self, name: str, label: str) -> Path:
        """Return the path of a picture."""
        return (self.path / SORTED / label if label else self.path) / (name + PICTURE)

    def sidecar(self, name: str, label: str) -> SideCar | None:
        """Return what is known of a case; None where its side-car is missing or none."""
        try:
            with self.folder(label) as folder:
                content = content_of(folder, name)
        except FileNotFoundError:
            return None
        return decode(content) if content else None

    def add(self, name: str, picture: bytes, sidecar: bytes, label: str = "") -> None:
        """Add a case, whole or not at all."""
        with self.folder(label, create=bool(label)) as folder:
            try:
                if sidecar:
                    folder.write(name + SIDECAR, sidecar)
                folder.write(name + PICTURE, picture)
            except BaseException:
                with contextlib.suppress(OSError):
                    folder.remove(name + SIDECAR)
                raise
            folder.sync()

    def remove(self, name: str, label: str = "") -> bool:
        """Remove a case; return whether there was one."""
        with self.folder(label) as folder:
            there = folder.remove(name + PICTURE)
            if there:
                folder.remove(name + SIDECAR)
            return there

    def sort(self, cases: Sequence[str], before: str, label: str, keep_class: bool = False) -> None:
        """Move cases from the class ``before`` to ``label``, each at once; empty is unsorted.

        However many there are, the disk is waited for four times.

        keep_class  also where none is left in it
        """
        if before == label:
            return
        with self.folder(before) as source, self.folder(label, create=bool(label)) as to:
            for name in cases:
                if to.size(name + PICTURE) is not None:
                    raise OSError(errno.EEXIST, f"{label or names.UNSORTED} has a {name} already")
            for name in cases:
                if content := content_of(source, name):
                    to.remove(name + SIDECAR)
                    source.link(name + SIDECAR, to, content)
            to.sync()
            for name in cases:
                source.move(name + PICTURE, to, name + PICTURE)
            to.sync()
            source.sync()
            for name in cases:
                source.remove(name + SIDECAR)
            source.sync()
        if not keep_class:
            self._forget_class(before)

    def sort_all(self, cases: Sequence[str], label: str) -> None:
        """Move cases to a class, empty for unsorted. Raises EdgeError, before the first."""
        places = {name: self.where(name) for name in cases}
        for name, before in places.items():
            if before is None:
                hint = "`edge cases list` shows them"
                raise EdgeError("no such case", where=str(self.path), got=name, hint=hint)
        if label not in ("", *self.labels()) and len(self.labels()) >= names.LABELS_MAX:
            raise EdgeError(f"{names.LABELS_MAX} classes are there already", got=label)
        for before in {*places.values()} - {label}:
            self.sort([name for name in places if places[name] == before], before or "", label)

    def purge(self, label: str) -> int:
        """Remove every case of a class, the unsorted ones for an empty ``label``; count them."""
        with self.folder(label) as folder:
            found = list(self.files(folder))
            for ending in (PICTURE, SIDECAR):
                for name, mine, _ in found:
                    if mine == ending:
                        folder.remove(name + ending)
            folder.sync()
        self._forget_class(label)
        return sum(ending == PICTURE for _, ending, _ in found)

    def sorted_size(self) -> tuple[int, int]:
        """Return bytes and number of the sorted cases."""
        size = count = 0
        for label in self.labels():
            with self.folder(label) as folder:
                for _, ending, one in self.files(folder):
                    size, count = size + one, count + (ending == PICTURE)
        return size, count

    def _forget_class(self, label: str) -> None:
        """Remove the folder of a class without cases."""
        if label:
            with contextlib.suppress(OSError):
                classes = self.root.sub(SORTED)
                try:
                    classes.remove_sub(label)
                finally:
                    classes.close()


def _make(path: Path) -> None:
    """Make the folder and its parents."""
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    parent = Folder(os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    try:
        parent.sub(path.name, create=True).close()
    finally:
        parent.close()


def content_of(folder: Folder, name: str) -> bytes:
    """Return the content of a side-car; empty where it is missing or none."""
    try:
        content = folder.read(name + SIDECAR, MAX_BYTES)
        decode(content)
    except (OSError, ValueError):
        return b""
    return content
