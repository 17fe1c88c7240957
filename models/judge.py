"""Scores of a model for sets of pictures, as the daemon runs it: through the engine, never Keras.

The scores of a set are kept in a folder, by the model, its preprocessing, the runtime and the
files: what looks at them again does not run the model again.
"""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from edge.config import ModelConfig
from edge.errors import ConfigError, ModelError
from edge.model.card import ModelCard
from edge.model.engine import Engine, Unreadable, read_picture, start
from models import data, dataset, metrics, options
from models.folders import Sample, class_folders, scan

Sets = Mapping[str, Sequence[Sample]]


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores of a model, (N, C), and the N samples that could be read."""

    samples: tuple[Sample, ...]
    scores: metrics.Scores

    @property
    def classes(self) -> metrics.Classes:
        """The true classes, (N,)."""
        return np.array([sample.label for sample in self.samples], np.int64)

    def figures(self, background: Sequence[int] = ()) -> dict[str, Any]:
        """Return the figures of ``metrics.figures``."""
        return metrics.figures(self.scores, self.classes, background)

    def part(self, chosen: NDArray[Any]) -> Judged:
        """Return the samples that ``chosen`` names: indices, or a mask (N,)."""
        indices = np.arange(len(self.samples))[chosen]
        return Judged(tuple(self.samples[i] for i in indices), self.scores[indices])


def pool(sets: Iterable[Judged]) -> Judged:
    """Return several sets as one."""
    every = list(sets)
    samples = tuple(sample for one in every for sample in one.samples)
    return Judged(samples, np.concatenate([one.scores for one in every]))


def judge(engine: Engine, samples: Sequence[Sample], kept: Path | None = None) -> Judged:
    """Return the model's scores; unreadable pictures are left out. Raises where all are.

    kept  folder for scores; those of an earlier run are used
    """
    file = kept / f"{_key(engine, samples)}.npz" if kept else None
    judged = _read(file, samples, len(engine.card.labels)) if file else None
    if judged:
        return judged
    readable, scores = [], []
    hidden = not (kept and sys.stderr.isatty())
    for index, sample in enumerate(track(samples, f"{engine.card.name}", disable=hidden)):
        try:
            frame = read_picture(sample.path)
        except Unreadable:
            continue
        out = np.empty(len(engine.card.labels), np.float32)
        if not engine.classify(frame, out):
            fault = engine.classifier.fault()
            raise ModelError("the model gives no scores", where=str(sample.path), got=fault)
        readable.append(index)
        scores.append(out)
    if not readable:
        raise ConfigError("none of the test pictures can be read", got=f"{len(samples)} files")
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npz")
        np.savez(part, indices=readable, scores=np.stack(scores))
        part.replace(file)
    return Judged(tuple(samples[i] for i in readable), np.stack(scores))


def judge_all(model: Path, sets: Sets, out: Path | None = None) -> dict[str, Judged]:
    """Return the scores of the model in a folder for every set; OUT/scores keeps them."""
    engine = start(ModelConfig(path=str(model), require_xnnpack=False))
    kept = out / "scores" if out else None
    return {name: judge(engine, samples, kept) for name, samples in sets.items()}


def classes_of(
    card: ModelCard, out: Path, given: Sequence[str] | None = None
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the classes that test pictures may have, and the numbers of background ones.

    The model's labels come first; background classes that it does not have follow. Which ones are
    background: as given, else as in the card, else as in OUT/dataset.json, else the usual name.
    Raises ModelError where the model has no labels.
    """
    if not card.labels:
        raise ModelError(f"model `{card.name}` gives features, no scores", hint="give it a head")
    background = given or card.background
    if not background and (out / "dataset.json").is_file():
        background = dataset.load(out).background
    elif not background:
        background = (options.BACKGROUND,)
    labels = (*card.labels, *(name for name in background if name not in card.labels))
    return labels, tuple(labels.index(name) for name in background)


def find_sets(
    folder: Path, out: Path, labels: Sequence[str] | None = None
) -> dict[str, list[Sample]]:
    """Return the test sets by name: validation and held_out of OUT/dataset.json, FOLDER/test_NAME.

    labels  the classes that pictures may have; those of OUT/dataset.json where left out

    Raises ConfigError where a set has another class, and where there is no set.
    """
    sets: dict[str, list[Sample]] = {}
    if labels is None or (out / "dataset.json").is_file():
        corpus = dataset.load(out)
        labels = corpus.labels if labels is None else labels
        _check(corpus.labels, labels, out / "dataset.json")
        parts: tuple[data.Part, ...] = ("validation", "held_out")
        for part in parts:
            sets[part] = [
                Sample(one.path, labels.index(corpus.labels[one.label]), one.source, one.group)
                for one in (corpus.samples[i] for i in corpus.indices(part))
            ]
    for place in sorted(place for place in folder.glob("test_*") if place.is_dir()):
        folders = class_folders(place)
        _check(tuple(folders), labels, place)
        sets[place.name] = scan(folders, labels)
    sets = {name: samples for name, samples in sets.items() if samples}
    if not sets:
        raise ConfigError("no test pictures", where=f"{out / 'dataset.json'} and {folder}")
    return sets


def _check(names: Sequence[str], labels: Sequence[str], where: Path) -> None:
    """Raise ConfigError where pictures have a class that the model does not know."""
    for name in names:
        if name not in labels:
            raise ConfigError(
                f"the model has no class `{name}`",
                where=str(where),
                expected=f"pictures of {', '.join(labels)}",
                hint="remove them, or name the class with --background if it shows nothing of"
                " interest",
            )


def _key(engine: Engine, samples: Sequence[Sample]) -> str:
    """Return a digest that changes with the model, how pictures enter it, and any file."""
    card = engine.card
    how = (card.preprocessing, card.output, card.head, engine.classifier.facts.runtime)
    files = []
    for sample in samples:
        try:
            stat = os.stat(sample.path)
            files.append((str(sample.path), stat.st_size, stat.st_mtime_ns))
        except OSError:
            files.append((str(sample.path), 0, 0))
    return hashlib.sha256(repr((engine.sha256, how, files)).encode()).hexdigest()[:32]


def _read(file: Path, samples: Sequence[Sample], labels_total: int) -> Judged | None:
    """Return scores that were kept; None where there are none, or they cannot be read."""
    try:
        with file.open("rb") as stream, np.load(stream) as arrays:
            indices, scores = np.asarray(arrays["indices"]), np.asarray(arrays["scores"])
        if scores.shape != (len(indices), labels_total):
            return None
        return Judged(tuple(samples[i] for i in indices), scores)
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile):
        return None
