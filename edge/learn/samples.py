"""A folder for each class becomes samples; which of them belong together.

Frames of one minute, and near-duplicates, are one group: a picture that was taught must never judge
its twin. Knows no network; features are added by the caller.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import ConfigError

PICTURES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
CLASSES_MAX: Final = 50
PICTURES_MAX: Final = 3_000
"""With so many in 50 classes, teaching takes 150 MB."""
ALIKE: Final = 6
"""Bits in which near-duplicates differ, at most."""
MINUTE_S: Final = 60.0
ALIKE_S: Final = 600.0
"""Near-duplicates whose times differ by more are other moments."""
GROUPS_LEAST: Final = 3
"""Of a class, to keep them whole."""
_LABEL: Final = re.compile(r"[^\x00-\x1f\x7f/]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder of classes holds.

    labels    names of the classes, sorted
    files     (path, number of the class), sorted
    """

    labels: tuple[str, ...]
    files: tuple[tuple[Path, int], ...]


@dataclass(frozen=True, slots=True)
class Samples:
    """Pictures that could be read, and what is known of them.

    labels    (C,)
    names     (N,) path below the folder
    classes   (N,) int
    features  (N, F) float32
    prints    (N,) fingerprints
    bright    (N,) mean grey level, 0 to 255
    times_s   (N,) Unix time; NaN where it is unknown
    unread    path and reason of the others
    """

    labels: tuple[str, ...]
    names: tuple[str, ...]
    classes: NDArray[np.int64]
    features: NDArray[np.float32]
    prints: tuple[int, ...]
    bright: NDArray[np.float64]
    times_s: NDArray[np.float64]
    unread: tuple[tuple[str, str], ...]


def scan(folder: Path, skip_empty: bool = False) -> Folder:
    """Return the classes and pictures below ``folder``. Raises ConfigError.

    skip_empty  classes without pictures are left out; else they are an error
    """
    try:
        inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
        classes = sorted((path for path in inside if path.is_dir()), key=lambda path: path.name)
    except OSError as exc:
        raise ConfigError(f"cannot be read: {exc.strerror}", where=str(folder)) from exc
    if skip_empty:
        classes = [path for path in classes if any(_pictures(path))]
    labels = tuple(path.name for path in classes)
    _check_labels(labels, folder)
    files: list[tuple[Path, int]] = []
    for number, path in enumerate(classes):
        mine = sorted(_pictures(path))
        if not mine:
            raise ConfigError(
                f"class `{path.name}` has no pictures",
                where=str(path),
                expected=f"files such as *{PICTURES[0]}",
                hint="add some, or remove the folder",
            )
        files += [(file, number) for file in mine]
        if len(files) > PICTURES_MAX:
            raise ConfigError(
                "too many pictures",
                where=str(folder),
                expected=f"at most {PICTURES_MAX}",
                hint="move some of every class elsewhere",
            )
    return Folder(labels, tuple(files))


def _check_labels(labels: Sequence[str], folder: Path) -> None:
    if len(labels) < 2:
        raise ConfigError(
            "nothing to tell apart",
            where=str(folder),
            expected="a folder for each of at least 2 classes",
            got=f"only {labels[0]}" if labels else "none",
            hint="put pictures of the other case into a second folder, such as `neither`",
        )
    if len(labels) > CLASSES_MAX:
        raise ConfigError(
            "too many classes",
            where=str(folder),
            expected=f"at most {CLASSES_MAX}",
            got=str(len(labels)),
        )
    for label in labels:
        if not _LABEL.match(label) or not label.isprintable() or label != label.strip():
            raise ConfigError(
                "not a label",
                where=str(folder / label),
                expected="a folder name of at most 64 printable characters",
            )
    folded = {label.casefold(): label for label in labels}
    if len(folded) < len(labels):
        twins = next(one for one in labels if folded[one.casefold()] != one)
        raise ConfigError(
            "two classes have the same name",
            where=str(folder),
            got=f"{twins} and {folded[twins.casefold()]}",
        )


def _pictures(folder: Path) -> Iterator[Path]:
    try:
        for path in folder.rglob("*"):
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if path.suffix.lower() in PICTURES and not hidden and not path.is_dir():
                yield path
    except OSError as exc:
        raise ConfigError(f"cannot be read: {exc.strerror}", where=str(folder)) from exc


def groups(samples: Samples) -> NDArray[np.int64]:
    """Return the number of each sample's group, (N,)."""
    result = np.arange(len(samples.names))
    known = np.flatnonzero(np.isfinite(samples.times_s))
    begin_s, first = -np.inf, 0
    for index in known[np.argsort(samples.times_s[known], kind="stable")].tolist():
        if samples.times_s[index] - begin_s >= MINUTE_S:
            begin_s, first = samples.times_s[index], index
        result[index] = first
    for near, index in _alike(samples):
        others = np.unique(result[near])
        if len(others) > 1 or others[0] != result[index]:
            result[np.isin(result, others)] = result[index]
    return np.asarray(np.unique(result, return_inverse=True)[1], np.int64)


def _alike(samples: Samples) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield the near-duplicates before each picture, unless both tell times that are far apart.

    A fixed camera's frames of one state are all alike, and still other moments.
    """
    values = np.array(samples.prints, np.uint64)
    for index in range(1, len(values)):
        near = np.flatnonzero(_bits(values[:index] ^ values[index]) <= ALIKE)
        apart_s = np.abs(samples.times_s[near] - samples.times_s[index])
        near = near[~(apart_s > ALIKE_S)]  # NaN where a time is unknown
        if len(near):
            yield near, index


def lone(groups: NDArray[np.int64], classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the groups for cross-validation: a class of few groups is taken apart by picture.

    It could not be on both sides otherwise; ``doubts.warnings`` says what its accuracy is worth.
    """
    result = groups.copy()
    for label in np.unique(classes):
        mine = np.flatnonzero(classes == label)
        if len(np.unique(groups[mine])) < GROUPS_LEAST:
            result[mine] = result.max() + 1 + np.arange(len(mine))
    return result


def twins(prints: Sequence[int]) -> list[tuple[int, int]]:
    """Return the pairs of near-duplicates, each picture with the first that it resembles."""
    found = []
    values = np.array(prints, np.uint64)
    for index in range(1, len(values)):
        near = np.flatnonzero(_bits(values[:index] ^ values[index]) <= ALIKE)
        if len(near):
            found.append((int(near[0]), index))
    return found


def _bits(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return how many bits are set in each value; NumPy 1 has no function for it."""
    bits = np.unpackbits(values.view(np.uint8).reshape(len(values), 8), axis=1)
    return np.asarray(bits.sum(1), np.int64)
