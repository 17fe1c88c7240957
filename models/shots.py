"""Tasks that a few pictures a class teach: which pictures teach, which test."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from edge.errors import ConfigError
from models import data, dataset
from models.folders import class_folders, scan

Classes = Mapping[str, tuple[Path, ...]]
SIZES: Final = (5, 10, 20, 50, 100)
"""Pictures a class."""
LEFT: Final = 5
"""Pictures of each class that must be left to test with."""
POOL: Final = 500
"""Training pictures of each class to draw from, at most."""


@dataclass(frozen=True, slots=True)
class Task:
    """Classes to tell apart.

    pool    class -> pictures that are drawn from
    test    class -> pictures of other sources to test with; empty: those that were not drawn
    choice  whether the task may decide a choice: its pictures are training pictures
    """

    name: str
    pool: Classes
    test: Classes = field(default_factory=dict)
    choice: bool = False

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes for which every class has pictures."""
        least = min(map(len, self.pool.values())) - (0 if self.test else LEFT)
        return tuple(size for size in SIZES if size <= least)


def tasks(corpus: dataset.Dataset, images: Path, seed: int) -> list[Task]:
    """Return every task that the pictures allow. Raises ConfigError where there is none.

    corpus  training pictures
    images  folder with train_neither and test_* beside train
    """
    pool = _pool(corpus, seed)
    found = [Task(f"{', '.join(pool)}, same sources", pool, choice=True)]
    tested = _folders(images, ("test_independent", "test_neither"))
    for labels in (("cat", "dog"), ("cat", "dog", "neither")):
        if set(labels) <= set(pool) & set(tested):
            some = {label: pool[label] for label in labels}
            found.append(Task(", ".join(labels), some, {label: tested[label] for label in labels}))
    pets = images / "test_independent"
    breeds = _named([*pets.glob("cat/*"), *pets.glob("dog/*")], r"([A-Za-z_]+)_\d+\.jpg")
    for least in (10, 20, 100):
        some = {name: files for name, files in breeds.items() if len(files) >= least + LEFT}
        found.append(Task(f"{len(some)} breeds", some))
    scenes = sorted((images / "train_neither").glob("*"))
    places = _named(scenes, r"places_(\w+?)__.*")
    grey = _named(scenes, r"scene15_(bedroom|kitchen|living|office|store)\w*__.*")
    found.append(Task(f"{len(places)} rooms", places, choice=True))
    found.append(Task(f"{len(grey)} rooms, grey", grey, choice=True))
    both = sorted({"bedroom", "kitchen", "living_room"} & set(places))
    other = {name: grey.get(name.partition("_")[0], ()) for name in both}
    found.append(Task(f"{len(both)} rooms, other source", {n: places[n] for n in both}, other))
    usable = [task for task in found if len(task.pool) > 1 and task.sizes]
    if not usable:
        raise ConfigError(
            "too few pictures to teach with",
            where=str(images),
            expected=f"at least {SIZES[0] + LEFT} of each of two classes",
        )
    return usable


def _pool(corpus: dataset.Dataset, seed: int) -> dict[str, tuple[Path, ...]]:
    """Return training pictures by class, each source as often as in training."""
    random = np.random.default_rng(seed)
    train = corpus.indices("train")
    shares = data.mix([corpus.samples[index] for index in train])
    pool = {}
    for label, name in enumerate(corpus.labels):
        mine = corpus.classes[train] == label
        total = min(POOL, int(mine.sum()))
        chosen = random.choice(
            train[mine], total, replace=False, p=shares[mine] / shares[mine].sum()
        )
        pool[name] = tuple(corpus.samples[index].path for index in chosen)
    return pool


def _folders(images: Path, names: Iterable[str]) -> dict[str, tuple[Path, ...]]:
    """Return the pictures of test folders by class."""
    found: dict[str, tuple[Path, ...]] = {}
    for name in names:
        if (images / name).is_dir():
            folders = class_folders(images / name)
            labels = list(folders)
            for sample in scan(folders, labels):
                label = labels[sample.label]
                found[label] = (*found.get(label, ()), sample.path)
    return found


def _named(files: Iterable[Path], pattern: str) -> dict[str, tuple[Path, ...]]:
    """Return files by the class that their names say."""
    found = defaultdict(list)
    for file in sorted(files):
        match = re.fullmatch(pattern, file.name)
        if match:
            found[match[1]].append(file)
    return {name: tuple(files) for name, files in sorted(found.items())}
