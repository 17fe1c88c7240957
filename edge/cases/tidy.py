"""Removes what kills and losses of power have left in a folder of cases."""

from __future__ import annotations

import contextlib
from typing import Final

from edge.cases.folder import PART, Folder
from edge.cases.names import PICTURE, SIDECAR
from edge.cases.store import Store

STAGING: Final = ".import-"
"""Folders of imports that are under way begin with it."""


def tidy(store: Store) -> int:
    """Remove the rubbish in ``store``; return how many files there were. Raises OSError.

    Only with the store's lock: another process may be between its two files.
    """
    removed = 0
    for label in ("", *store.labels()):
        with store.folder(label) as folder:
            removed += _tidy(store, folder)
    return removed + _tidy_imports(store)


def clear(folder: Folder) -> int:
    """Remove the files in a folder, and in those in it with the folders; count them."""
    removed = 0
    for entry in list(folder.entries()):
        if entry.is_dir(follow_symlinks=False):
            inner = folder.sub(entry.name)
            try:
                removed += sum(inner.remove(each.name) for each in list(inner.entries()))
            finally:
                inner.close()
            folder.remove_sub(entry.name)
        else:
            removed += folder.remove(entry.name)
    return removed


def _tidy(store: Store, folder: Folder) -> int:
    pictures, sidecars, rubbish = set(), set(), list[str]()
    for name, ending, size in store.files(folder):
        if ending == SIDECAR:
            sidecars.add(name)
        elif size:
            pictures.add(name)
        else:  # not ours: some file systems lose content
            rubbish.append(name + PICTURE)
    rubbish += [name + SIDECAR for name in sidecars - pictures]
    rubbish += [entry.name for entry in folder.entries() if _is_part(entry.name)]
    return sum(folder.remove(file) for file in rubbish)


def _tidy_imports(store: Store) -> int:
    removed = 0
    for name in [e.name for e in store.root.entries() if e.name.startswith(STAGING)]:
        with contextlib.suppress(OSError):  # its process lives, or it is no folder of ours
            staging = store.root.sub(name)
            try:
                staging.lock(0.0)
                removed += clear(staging)
            finally:
                staging.close()
            store.root.remove_sub(name)
    return removed


def _is_part(file: str) -> bool:
    return file.startswith(".") and file.endswith((PICTURE + PART, SIDECAR + PART))
