"""Read every picture once: store the pictures for training, split them, report.

    python -m models.dataset [--data DIR] [--extra DIR] [--out build/model]

Reads DIR/train/<class>/*, and --extra's <class>/* (frames that the daemon saved, sorted by a
person), which only train. Writes OUT/dataset.json (labels, samples, parts, files left out) and
OUT/pictures.npy, (N, STORED, STORED, 3) uint8 RGB. Does nothing where both exist and no file has
changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
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

STORED: Final = 256
"""Side of the stored pictures, pixels."""


@dataclass(frozen=True)
class Dataset:
    """The pictures for training; index i means the same sample everywhere.

    labels    class names
    samples   N files
    parts     N parts
    pictures  (N, STORED, STORED, 3) uint8 RGB, a memory map
    how       preprocessing of the pictures; goes into the card
    """

    labels: tuple[str, ...]
    samples: tuple[data.Sample, ...]
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


def load(out: Path) -> Dataset:
    """Return the data set that ``prepare`` wrote."""
    try:
        stored = json.loads((out / "dataset.json").read_text())
        pictures = np.load(out / "pictures.npy", mmap_mode="r")
    except FileNotFoundError as exc:
        raise ConfigError(
            "no data set", where=str(exc.filename), hint="run python -m models.dataset first"
        ) from None
    samples = tuple(data.Sample(Path(path), label) for path, label, _ in stored["samples"])
    parts = tuple(part for _, _, part in stored["samples"])
    how = Preprocessing(central_fraction=stored["central_fraction"])
    return Dataset(tuple(stored["labels"]), samples, parts, pictures, how)


def prepare(args: argparse.Namespace) -> Dataset:
    """Read, hash, split and store; or return what is already stored."""
    folder = args.data / "train"
    labels, samples = data.scan(folder)
    extra = data.scan(args.extra, labels)[1] if args.extra else []
    files = thin(samples, args.limit) + extra
    choices = (labels, args.held_out, args.validation, args.seed, args.central_fraction)
    key = _key(files, choices)
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
    own = np.array([index < len(files) - len(extra) for index in kept]) & ~wrong
    parts: list[str] = ["train"] * len(kept)
    for index, part in zip(
        np.flatnonzero(own),
        data.split(classes[own], groups[own], args.held_out, args.validation, args.seed),
        strict=True,
    ):
        parts[index] = part
    tested = {groups[i] for i in np.flatnonzero(own) if parts[i] != "train"}
    for index in np.flatnonzero(~own):
        parts[index] = "none" if wrong[index] or groups[index] in tested else "train"
    stored = {
        "key": key,
        "labels": labels,
        "central_fraction": args.central_fraction,
        "left_out": left_out,
        "near_duplicates": int(len(kept) - len(np.unique(groups))),
        "samples": [
            (str(files[k].path), files[k].label, p) for k, p in zip(kept, parts, strict=True)
        ],
    }
    whole = out / "dataset.json.part"
    whole.write_text(json.dumps(stored, indent=0))
    whole.replace(out / "dataset.json")
    return load(out)


def thin(samples: Sequence[data.Sample], limit: int) -> list[data.Sample]:
    """Return at most ``limit`` samples of each class, evenly spread; all for 0."""
    if not limit:
        return list(samples)
    chosen: list[data.Sample] = []
    for label in sorted({sample.label for sample in samples}):
        mine = [sample for sample in samples if sample.label == label]
        step = max(1.0, len(mine) / limit)
        chosen += [mine[int(i * step)] for i in range(min(limit, len(mine)))]
    return chosen


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
    files: Sequence[data.Sample], path: Path
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


def _key(files: Sequence[data.Sample], rest: Any) -> str:
    """Return a digest that changes with any file or option."""
    stats = [(str(s.path), os.stat(s.path).st_size, os.stat(s.path).st_mtime_ns) for s in files]
    return hashlib.sha256(repr((stats, rest)).encode()).hexdigest()


if __name__ == "__main__":
    try:
        arguments = options.parser(__doc__).parse_args()
        print(report(prepare(arguments), json.loads((arguments.out / "dataset.json").read_text())))
    except EdgeError as exc:
        sys.exit(str(exc))
