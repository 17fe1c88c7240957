"""Changes of the folder of cases, with the locks of `edge cases`, whether a daemon runs or not.

Rule: a change of many takes the lock for a few at a time, so that the daemon's next case need not
wait for all of them. What fails half-way is reported with what was done, which can be undone.

Runs on threads of work.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from edge.cases import classes, names
from edge.cases.store import Store
from edge.errors import EdgeError
from edge.web.undo import Moves

LOCK_S: Final = 5.0
AT_ONCE: Final = 25
"""Cases that are changed while the lock is held."""
NAMES_MAX: Final = 2_000
Name = Annotated[str, Meta(max_length=names.NAME_MAX_BYTES)]
Names = Annotated[list[Name], Meta(min_length=1, max_length=NAMES_MAX)]


class Sort(msgspec.Struct, forbid_unknown_fields=True, rename={"label": "class"}):
    """Cases, and the class into which they go; null: unsorted."""

    names: Names
    label: Name | None


class Sorted(msgspec.Struct):
    """What was sorted.

    missing  cases that are not there, or no longer
    undo     for the next address; empty where nothing has moved
    error    why the others were not sorted; empty where all were
    """

    sorted: int
    missing: list[str]
    undo: str
    error: str = ""


class Token(msgspec.Struct, forbid_unknown_fields=True):
    """What a change is undone with."""

    undo: Annotated[str, Meta(max_length=64)]


class Undone(msgspec.Struct):
    """What was undone. missing: cases that have gone, or were sorted again, meanwhile."""

    restored: int
    missing: list[str]


class Delete(msgspec.Struct, forbid_unknown_fields=True):
    """Cases that are deleted for good."""

    names: Names


class Deleted(msgspec.Struct):
    """What was deleted. missing: cases that are not there, or no longer."""

    deleted: int
    missing: list[str]


class Class(msgspec.Struct, forbid_unknown_fields=True):
    """The name of a class."""

    name: Name


class Rename(msgspec.Struct, forbid_unknown_fields=True):
    """The old and the new name of a class."""

    name: Name
    to: Name


class Counts(msgspec.Struct):
    """Class -> cases; the unsorted ones apart. most: classes that there may be."""

    classes: dict[str, int]
    unsorted: int
    most: int = names.LABELS_MAX


class Skipped(msgspec.Struct):
    """A file that was not taken."""

    file: str
    error: str


class Added(msgspec.Struct):
    """What became of the files. names: of the new cases."""

    added: int
    names: list[str]
    skipped: list[Skipped]


@contextlib.contextmanager
def changing(folder: Path, create: bool = False) -> Iterator[Store]:
    """Yield the folder, locked. Raises OSError."""
    with Store(folder, create=create, lock=True, lock_s=LOCK_S) as store:
        yield store


def sort(folder: Path, wanted: Sequence[str], label: str) -> tuple[Moves, list[str], str]:
    """Sort cases into a class, empty for unsorted.

    Return the moves, the cases that are not there, and an error where it has ended half-way.
    Raises EdgeError, OSError before the first.
    """
    moves: Moves = []
    missing: list[str] = []
    try:
        for some in _portions(list(dict.fromkeys(wanted))):
            with changing(folder) as store:
                _check_room(store, label)
                found = {name: store.where(name) for name in some}
                missing += [name for name, before in found.items() if before is None]
                there = [(name, before) for name, before in found.items() if before is not None]
                for before in sorted({before for _, before in there} - {label}):
                    group = [name for name, place in there if place == before]
                    try:
                        store.sort(group, before, label, keep_class=True)
                    finally:  # where it fails, some may have moved
                        moved = [name for name in group if store.where(name) == label]
                        moves += [(name, before, label) for name in moved]
    except (EdgeError, OSError) as exc:
        if not moves:
            raise
        return moves, missing, getattr(exc, "strerror", "") or str(exc)
    return moves, missing, ""


def restore(folder: Path, moves: Moves) -> list[str]:
    """Put cases back; return those that have gone, or were sorted again. Raises OSError."""
    missing = []
    for some in _portions(moves):
        with changing(folder) as store:
            there = [move for move in some if store.where(move[0]) == move[2]]
            missing += [move[0] for move in some if move not in there]
            for before, after in sorted({move[1:] for move in there}):
                group = [name for name, *way in there if way == [before, after]]
                store.sort(group, after, before, keep_class=True)
    return missing


def delete(folder: Path, wanted: Sequence[str]) -> Deleted:
    """Delete cases. Raises OSError."""
    done = Deleted(0, [])
    for some in _portions(list(dict.fromkeys(wanted))):
        with changing(folder) as store:
            for name in some:
                label = store.where(name)
                if label is not None and store.remove(name, label):
                    done.deleted += 1
                else:
                    done.missing.append(name)
    return done


def counts(folder: Path) -> Counts:
    """Return the classes; none where there is no folder. Raises OSError."""
    try:
        with Store(folder) as store:
            found = classes.counts(store)
    except FileNotFoundError:
        return Counts({}, 0)
    return Counts(found, found.pop(names.UNSORTED))


def change(folder: Path, how: Callable[[Store], None], create: bool = False) -> Counts:
    """Change classes; return them. Raises EdgeError, OSError."""
    with changing(folder, create) as store:
        how(store)
    return counts(folder)


def _check_room(store: Store, label: str) -> None:
    there = store.labels()
    if label and label not in there and len(there) >= names.LABELS_MAX:
        raise EdgeError(f"{names.LABELS_MAX} classes are there already", got=label)


def _portions(wanted: list[Any]) -> Iterator[list[Any]]:
    for begin in range(0, len(wanted), AT_ONCE):
        yield wanted[begin : begin + AT_ONCE]
