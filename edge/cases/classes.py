"""Classes of sorted cases: made, renamed, removed. Every function needs the store's lock.

A class without cases is a folder too: it is there until somebody removes it, or until the last
case is taken out of it on the command line. Raises EdgeError and OSError, before the first change.
"""

from __future__ import annotations

import contextlib
import os

from edge.cases import names
from edge.cases.folder import Folder
from edge.cases.names import PICTURE, SORTED
from edge.cases.store import Store
from edge.cases.tidy import tidy
from edge.errors import EdgeError


def counts(store: Store) -> dict[str, int]:
    """Return class -> cases; the unsorted ones as ``unsorted``. Needs no lock."""
    found = {names.UNSORTED: len(store.names(""))}
    for label in store.labels():
        if label != names.UNSORTED:
            with contextlib.suppress(FileNotFoundError):
                found[label] = len(store.names(label))
    return found


def add(store: Store, name: str) -> None:
    """Make a class, unless it is there."""
    label, there = checked(name), store.labels()
    if label not in there and len(there) >= names.LABELS_MAX:
        raise EdgeError(f"{names.LABELS_MAX} classes are there already", got=name)
    with store.folder(label, create=True) as folder:
        folder.sync()


def rename(store: Store, name: str, to: str) -> None:
    """Give a class another name, at once, with all its cases."""
    before, after = _there(store, name), checked(to)
    if after in store.labels():
        raise EdgeError("there is such a class already", got=to, hint="sort its cases into it")
    classes = store.root.sub(SORTED)
    try:
        classes.move(before, classes, after)
        classes.sync()
    finally:
        classes.close()


def remove(store: Store, name: str) -> None:
    """Remove a class that has no cases."""
    label = _there(store, name)
    tidy(store)
    classes = store.root.sub(SORTED)
    try:
        if not classes.remove_sub(label):
            raise EdgeError(_why(classes, label), got=name)
        classes.sync()
    finally:
        classes.close()


def checked(name: str) -> str:
    """Return the name of a class. Raises EdgeError where it can be none."""
    label = names.check_label(name)
    if not label:
        raise EdgeError("not a class", expected="another name", got=name)
    return label


def _there(store: Store, name: str) -> str:
    label = checked(name)
    if label not in store.labels():
        raise EdgeError("no such class", expected=", ".join(store.labels()) or "none yet", got=name)
    return label


def _why(classes: Folder, label: str) -> str:
    """Return why the folder of a class cannot be removed."""
    folder = classes.sub(label)
    try:
        files = [entry.name for entry in folder.entries()]
    finally:
        folder.close()
    count = sum(os.path.splitext(file)[1] == PICTURE for file in files)
    if count:
        return f"the class has {count} cases: sort or delete them first"
    return f"the folder of the class has other files in it, such as {files[0] if files else '-'}"
