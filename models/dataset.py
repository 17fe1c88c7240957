"""Read every picture once: store the pictures for training, split them, report.

    python -m models.dataset [--data DIR] [--extra DIR] [--background LABEL] [--out build/model]

Reads DIR/train/CLASS/*, and from every other DIR/train_NAME either its CLASS/* or, where it has no
folders, pictures of the class NAME; and --extra's CLASS/* (frames that the daemon saved, sorted by
a person), which only train. A manifest.csv beside pictures names their source and group. Writes
OUT/dataset.json (labels, samples, parts, files left out) and OUT/pictures.npy, (N, STORED, STORED,
3) uint8 RGB. Does nothing where both exist and no file has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from edge.errors import ConfigError, EdgeError
from edge.model.card import Preprocessing
from models import data, duplicates, options
from models.folders import Sample, check_names, class_folders, scan, thin

STORED: Final = 256
"""Side of the stored pictures, pixels."""
OTHERS_VALIDATION: Final = 0.125
"""Validation pictures of each folder train_NAME, as a share of it; none of them are held out."""


Labels = tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """The pictures for training; index i means the same sample everywhere.

    labels      class names
    background  those of them that mean that nothing of interest is there
    samples     N files
    parts       N parts
    pictures    (N, STORED, STORED, 3) uint8 RGB, a memory map
    how         which part of a picture the model gets; goes into the card
    """

    labels: Labels
    background: Labels
    samples: tuple[Sample, ...]
    parts: tuple[data.Part, ...]
    pictures: NDArray[np.uint8]
    how: Preprocessing

    def indices(self, part: data.Part) -> NDArray[np.int64]:
        """Return the indices of one part's samples."""
        return np.flatnonzero([p == part for p in self.parts])

    @property
    def classes(self) -> NDArray[np.int64]:
        """The class of each sample, (N,)."""
        return np.array([sample.label for sample in self.samples])

    @property
    def background_classes(self) -> tuple[int, ...]:
        """The numbers of the background classes."""
        return tuple(self.labels.index(name) for name in self.background)

    @property
    def scenes(self) -> NDArray[np.int64]:
        """The indices of the training pictures of background classes."""
        train = self.indices("train")
        scenes: NDArray[np.int64] = train[np.isin(self.classes[train], self.background_classes)]
        return scenes


def load(out: Path) -> Dataset:
    """Return the data set that ``prepare`` wrote."""
    try:
        stored = json.loads((out / "dataset.json").read_text())
        pictures = np.load(out / "pictures.npy", mmap_mode="r")
    except FileNotFoundError as exc:
        raise ConfigError(
            "no data set", where=str(exc.filename), hint="run python -m models.dataset first"
        ) from None
    rows = stored["samples"]
    return Dataset(
        labels=tuple(stored["labels"]),
        background=tuple(stored["background"]),
        samples=tuple(Sample(Path(row[0]), *row[1:4]) for row in rows),
        parts=tuple(row[4] for row in rows),
        pictures=pictures,
        how=Preprocessing(central_fraction=stored["central_fraction"]),
    )


def find(args: argparse.Namespace) -> tuple[Labels, Labels, list[Mapping[str, Path]]]:
    """Return labels, background labels, and the folders of classes of train, train_NAME and extra.

    Raises ConfigError where a class or a background class has no pictures, or an odd name.
    """
    places = [args.data / "train", *sorted(p for p in args.data.glob("train_*") if p.is_dir())]
    places += [args.extra] if args.extra else []
    folders: list[Mapping[str, Path]] = [class_folders(place) for place in places]
    labels = tuple(sorted({name for one in folders for name in one}))
    check_names(labels, args.data)
    usual = [name for name in labels if name == options.BACKGROUND]
    background = tuple(usual if args.background is None else args.background)
    missing = next((name for name in background if name not in labels), None)
    if missing is not None:
        raise ConfigError(
            f"background class `{missing}` has no pictures",
            where=str(args.data),
            hint=f"put pictures of empty scenes into {args.data / f'train_{missing}'}",
        )
    if set(background) >= set(labels):
        raise ConfigError("every class is a background class", expected="at least one that is none")
    return labels, background, folders


def prepare(args: argparse.Namespace) -> Dataset:
    """Read, hash, split and store; or return what is already stored."""
    labels, background, folders = find(args)
    sets = [scan(one, labels) for one in folders]
    extra = sets.pop() if args.extra else []
    sets = [thin(one, args.limit) for one in sets]
    files = [sample for one in sets for sample in one] + extra
    origin = np.repeat(np.arange(len(sets) + 1), [*map(len, sets), len(extra)])
    choices = (args.held_out, args.validation, args.seed, args.central_fraction)
    key = _key(files, (labels, background, choices))
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    if (out / "dataset.json").is_file():
        if json.loads((out / "dataset.json").read_text()).get("key") == key:
            return load(out)
        (out / "dataset.json").unlink()  # first, so that half a data set never counts as one
    kept, hashes, left_out = _store(files, out / "pictures.npy")
    classes = np.array([files[index].label for index in kept])
    groups = duplicates.near_groups(hashes)
    wrong = duplicates.contradictions(classes, groups)
    left_out += [
        (str(files[kept[i]].path), "near-duplicate of a picture in another class")
        for i in np.flatnonzero(wrong)
    ]
    parts = _parts(origin[kept], len(sets), classes, groups, wrong, args)
    stored = {
        "key": key,
        "labels": labels,
        "background": background,
        "central_fraction": args.central_fraction,
        "left_out": left_out,
        "near_duplicates": int(len(kept) - len(np.unique(groups))),
        "samples": [
            (str(s.path), s.label, s.source, s.group, part)
            for s, part in zip((files[k] for k in kept), parts, strict=True)
        ],
    }
    whole = out / "dataset.json.part"
    whole.write_text(json.dumps(stored, indent=0))
    whole.replace(out / "dataset.json")
    return load(out)


def _parts(
    origin: NDArray[np.int64],
    sets_total: int,
    classes: NDArray[np.int64],
    groups: NDArray[np.int64],
    wrong: NDArray[np.bool_],
    args: argparse.Namespace,
) -> list[data.Part]:
    """Return the part of each sample: folders are split one by one, extra pictures only train.

    origin  (N,) number of its folder; ``sets_total`` for extra pictures
    """
    parts: list[data.Part] = ["none" if bad else "train" for bad in wrong]
    for number in range(sets_total):
        own = np.flatnonzero((origin == number) & ~wrong)
        sizes = (0, round(len(own) * OTHERS_VALIDATION))
        if number == 0:
            sizes = (args.held_out, args.validation)
        split = data.split(classes[own], groups[own], *sizes, args.seed)
        for index, part in zip(own, split, strict=True):
            parts[index] = part
    tested = {groups[i] for i, part in enumerate(parts) if part in ("validation", "held_out")}
    return [
        "none" if part == "train" and group in tested else part
        for part, group in zip(parts, groups, strict=True)
    ]


def report(corpus: Dataset, stored: dict[str, Any]) -> str:
    """Return class balance by part, near-duplicates and files left out, as text."""
    lines = []
    for part in ("train", "validation", "held_out"):
        counts = Counter(
            s.label for s, p in zip(corpus.samples, corpus.parts, strict=True) if p == part
        )
        balance = ", ".join(f"{corpus.labels[k]} {v}" for k, v in sorted(counts.items()))
        lines.append(f"{part}: {sum(counts.values())} ({balance})")
    lines.append(f"near-duplicates kept on one side: {stored['near_duplicates']}")
    lines.append(f"left out: {len(stored['left_out'])}")
    return "\n".join(lines + [f"  {path}: {why}" for path, why in stored["left_out"]])


def _store(
    files: Sequence[Sample], path: Path
) -> tuple[list[int], NDArray[np.uint64], list[tuple[str, str]]]:
    """Write the readable pictures; return their indices, hashes (N, 2), and the files left out."""
    kept: list[int] = []
    hashes: list[NDArray[np.uint64]] = []
    left_out: list[tuple[str, str]] = []
    shape = (len(files), STORED, STORED, 3)
    pictures = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    for index, sample in enumerate(
        track(files, "reading pictures", disable=not sys.stderr.isatty())
    ):
        try:
            pixels = data.read_rgb(sample.path)
        except ValueError as exc:
            left_out.append((str(sample.path), str(exc)))
            continue
        cv2.resize(
            pixels, (STORED, STORED), dst=pictures[len(kept)], interpolation=cv2.INTER_LINEAR
        )
        hashes.append(duplicates.fingerprint(pixels))
        kept.append(index)
    pictures.flush()
    return kept, np.array(hashes, np.uint64).reshape(-1, 2), left_out


def _key(files: Sequence[Sample], rest: Any) -> str:
    """Return a digest that changes with any file or option."""
    stats = [(str(s.path), os.stat(s.path).st_size, os.stat(s.path).st_mtime_ns) for s in files]
    return hashlib.sha256(repr((stats, rest)).encode()).hexdigest()


if __name__ == "__main__":
    try:
        arguments = options.parse(options.parser(__doc__))
        print(report(prepare(arguments), json.loads((arguments.out / "dataset.json").read_text())))
    except EdgeError as exc:
        sys.exit(str(exc))
