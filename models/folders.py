"""Folders of pictures: one for each class, and a manifest that names sources and groups."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.errors import ConfigError

SIDECAR: Final = ".json"
"""Of what lies beside a picture, as `edge cases export` writes it."""
MANIFEST: Final = "manifest.csv"
"""Beside the pictures, if present: file, dataset (its source) and group of each."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture file and the index of its class.

    source  the collection it comes from
    group   what kind of picture it is, for reports; "" where nobody has said
    """

    path: Path
    label: int
    source: str = ""
    group: str = ""


def class_folders(folder: Path) -> dict[str, Path]:
    """Return the folder of each class: the folders in ``folder``, sorted.

    A folder train_NAME or test_NAME with pictures and no folders is itself the class NAME.
    """
    try:
        inside = sorted(folder.iterdir())
    except FileNotFoundError:
        raise ConfigError(
            "no training pictures",
            where=str(folder),
            expected="a folder with one folder of pictures per class",
            hint="sort Dogs-vs-Cats or Oxford-IIIT Pet into cat/ and dog/, and give the folder"
            " with --data",
        ) from None
    except OSError as exc:
        raise ConfigError(f"folder cannot be read: {exc.strerror}", where=str(folder)) from exc
    folders = {one.name: one for one in inside if one.is_dir() and one.name[0] != "."}
    _, underscore, name = folder.name.partition("_")
    return folders if folders or not underscore else {name: folder}


def check_names(names: Sequence[str], where: Path) -> None:
    """Raise ConfigError unless ``names`` can be the labels of a model."""
    if len(names) < 2:
        raise ConfigError(
            "fewer than two classes",
            where=str(where),
            expected="at least two folders with pictures",
            got=", ".join(names) or "none",
        )
    plain: dict[str, str] = {}
    for name in names:
        if not name.isprintable() or name != name.strip():
            raise ConfigError(
                f"class name {name!r} cannot be a label",
                where=str(where),
                expected="printable characters, no space at either end",
                hint="rename the folder",
            )
        twin = plain.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
        if twin != name:
            raise ConfigError(
                f"classes `{twin}` and `{name}` have the same name but for its case",
                where=str(where),
                hint="put their pictures into one folder, or rename one",
            )


def scan(folders: Mapping[str, Path], labels: Sequence[str]) -> list[Sample]:
    """Return every file of every class but side-cars; one without pictures raises ConfigError."""
    samples: list[Sample] = []
    for name, folder in folders.items():
        try:
            files = sorted(p for p in folder.iterdir() if p.name[0] != "." and p.is_file())
        except OSError as exc:
            raise ConfigError(f"folder cannot be read: {exc.strerror}", where=str(folder)) from exc
        others = {file.stem for file in files if file.suffix != SIDECAR}
        files = [
            file
            for file in files
            if file.name != MANIFEST and not (file.suffix == SIDECAR and file.stem in others)
        ]
        if not files:
            raise ConfigError(
                f"class `{name}` has no pictures",
                where=str(folder.parent),
                hint="put pictures into it, or remove it",
            )
        rows = _manifest(folder) or _manifest(folder.parent, f"{name}/")
        samples += [
            Sample(path.absolute(), labels.index(name), *rows.get(path.name, ("", "")))
            for path in files
        ]
    return samples


def thin(samples: Sequence[Sample], limit: int) -> list[Sample]:
    """Return at most ``limit`` samples of each class, evenly spread; all for 0."""
    if not limit:
        return list(samples)
    chosen: list[Sample] = []
    for label in sorted({sample.label for sample in samples}):
        mine = [sample for sample in samples if sample.label == label]
        step = max(1.0, len(mine) / limit)
        chosen += [mine[int(i * step)] for i in range(min(limit, len(mine)))]
    return chosen


def _manifest(folder: Path, prefix: str = "") -> dict[str, tuple[str, str]]:
    """Return source and group by file name, from the folder's manifest; empty without one."""
    try:
        with (folder / MANIFEST).open(newline="") as file:
            return {
                row["file"].removeprefix(prefix): (row.get("dataset") or "", row.get("group") or "")
                for row in csv.DictReader(file)
                if row["file"].startswith(prefix)
            }
    except FileNotFoundError:
        return {}
    except (OSError, KeyError, ValueError, csv.Error) as exc:
        raise ConfigError(
            "manifest cannot be read",
            where=str(folder / MANIFEST),
            expected="columns file, dataset, group",
            got=str(exc),
        ) from exc
