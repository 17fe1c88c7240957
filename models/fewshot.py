"""How good the features are for teaching: accuracy with a few pictures a class, as a table.

    python -m models.fewshot [--backbone mobilenet] [--data DIR] [--out build/model] [--to DIR]

Features come from the daemon's own preprocessing and runtime: of the model in TO, in int8, and of
OUT/features/BACKBONE-float, the same network in float (models.features makes both). An L2
multinomial regression, its strength by cross-validation, learns 5 to 100 pictures a class, drawn
ten times; it is tested on pictures that were not drawn. Replaces the section of TO/README.md
between the two marks; writes OUT/features/BACKBONE.json. Features are kept in OUT/features.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from edge.config import ModelConfig
from edge.errors import EdgeError
from edge.model import backbone as feature_models
from edge.model.card import Preprocessing
from edge.model.golden import read_picture
from edge.model.preprocess import Preprocessor
from models import dataset, options, regression, shots
from models.features import FOLDERS

DRAWS: Final = 10
VIEW_SIZES: Final = (20, 50)
"""Pictures a class where ways to see a picture are compared."""
BEGIN: Final = "<!-- few-shot: written by models.fewshot -->"
END: Final = "<!-- /few-shot -->"
VIEWS: Final[dict[str, dict[str, Any]]] = {
    "whole, stretched": {"resize": "stretch", "central_fraction": 1.0},
    "middle 7/8, stretched": {"resize": "stretch", "central_fraction": 0.875},
    "centre, aspect kept": {"resize": "crop", "central_fraction": 1.0},
    "centre of the middle 7/8": {"resize": "crop", "central_fraction": 0.875},
    "whole, letterbox": {"resize": "letterbox", "central_fraction": 1.0},
}
"""Ways to see a picture, by the card's [preprocessing]."""


class Extractor:
    """Features of picture files by one model; kept in a folder.

    how  instead of the card's preprocessing
    """

    def __init__(self, model: Path, cache: Path, how: dict[str, Any] | None = None) -> None:
        engine = feature_models.start(ModelConfig(path=str(model))).engine
        preprocessing = msgspec.structs.replace(engine.card.preprocessing, **(how or {}))
        self._model = feature_models.Backbone(
            replace(engine, preprocess=Preprocessor(preprocessing, engine.classifier.input))
        )
        self._cache = cache
        self._key = (engine.sha256, _text(preprocessing))

    def __call__(self, files: Sequence[Path]) -> NDArray[np.float64]:
        """Return the features of every file, (N, F). Raises Unreadable."""
        stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        digest = hashlib.sha256(repr((self._key, stats)).encode()).hexdigest()
        kept = self._cache / f"{digest[:32]}.npy"
        if not kept.is_file():
            rows = [
                self._model.features(read_picture(file))
                for file in track(files, "features", disable=not sys.stderr.isatty())
            ]
            self._cache.mkdir(parents=True, exist_ok=True)
            np.save(kept.with_suffix(".part.npy"), np.stack(rows))
            kept.with_suffix(".part.npy").replace(kept)
        return np.asarray(np.load(kept), np.float64)


def _text(how: Preprocessing) -> str:
    return msgspec.json.encode(how).decode()


def measure(
    task: shots.Task, extract: Extractor, sizes: Iterable[int], draws: int
) -> dict[int, tuple[float, float]]:
    """Return mean and standard deviation of the accuracy over the draws, by pictures a class."""
    pool, classes, places = _gather(task.pool, extract)
    others = _gather(task.test, extract)[:2] if task.test else None
    result = {}
    for size in sizes:
        shares = []
        for number in range(draws):
            random = np.random.default_rng((size, number))
            taken, left = regression.draw(places, size, random)
            train = pool[taken], classes[taken]
            strength = regression.choose(*train, random)
            test = others or (pool[left], classes[left])
            shares.append(regression.accuracy(*train, *test, strength))
        result[size] = (float(np.mean(shares)), float(np.std(shares, ddof=1)))
    return result


def _gather(
    classes: shots.Classes, extract: Extractor
) -> tuple[NDArray[np.float64], NDArray[np.int64], list[NDArray[np.int64]]]:
    """Return features and classes of all pictures, and the indices of each class."""
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in classes.values()])
    features = np.concatenate([extract(files) for files in classes.values()])
    return features, labels, [np.flatnonzero(labels == k) for k in range(len(classes))]


def measure_views(
    tasks: Sequence[shots.Task], model: Path, cache: Path, draws: int
) -> dict[str, dict[str, dict[int, tuple[float, float]]]]:
    """Return the accuracy of every way to see a picture: view -> task -> size -> mean, deviation.

    Only tasks of training pictures, which may decide a choice.
    """
    table: dict[str, dict[str, dict[int, tuple[float, float]]]] = {}
    for view, how in VIEWS.items():
        extract = Extractor(model, cache, how)
        table[view] = {
            task.name: measure(task, extract, [s for s in task.sizes if s in VIEW_SIZES], draws)
            for task in tasks
            if task.choice
        }
        print(view, json.dumps(table[view]), flush=True)
    return table


def render(figures: dict[str, Any]) -> str:
    """Return the section: accuracy by task and size, int8 and float; then by view."""
    lines = [
        "Accuracy in percent, each class counting the same; mean and standard deviation of"
        f" {figures['draws']} draws. `other`: tested on pictures of other sources than those that"
        " teach; else on those"
        " that were not drawn.",
        "",
        _line(["task", "tested on", "", *(f"{size} a class" for size in shots.SIZES)]),
        "|---" * (3 + len(shots.SIZES)) + "|",
    ]
    for name, task in figures["tasks"].items():
        for kind, place in (("int8", name), ("float", "")):
            cells = [_cell(task[kind].get(str(size))) for size in shots.SIZES]
            tested = f"{task['tested']:,} other" if task["tested"] else "the rest"
            lines.append(_line([place, tested if place else "", kind, *cells]))
    if not figures["views"]:
        return "\n".join(lines)
    names = list(next(iter(figures["views"].values())))
    columns = [(name, str(size)) for name in names for size in VIEW_SIZES]
    lines += [
        "",
        "Which part of a picture, int8, on training pictures only, those that were not drawn:",
        "",
        _line(["view", *(f"{name}: {size}" for name, size in columns)]),
        "|---" * (1 + len(columns)) + "|",
    ]
    for view, row in figures["views"].items():
        lines.append(_line([view, *(_cell(row[name].get(size)) for name, size in columns)]))
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(value: Sequence[float] | None) -> str:
    return "-" if value is None else f"{100 * value[0]:.1f} ± {100 * value[1]:.1f}"


def insert(text: str, section: str) -> str:
    """Return ``text`` with ``section`` between the marks, which are added at its end if absent."""
    before, mark, rest = text.partition(BEGIN)
    after = rest.partition(END)[2] if mark else "\n"
    before = before if mark else text.rstrip() + "\n\n"
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"


def main() -> None:
    """Measure, and write the section."""
    parser = options.parser(__doc__)
    parser.add_argument("--to", type=Path, help="folder of the model (default: by its backbone)")
    args = options.parse(parser)
    to: Path = args.to or options.ROOT / "models" / FOLDERS[args.backbone]
    cache: Path = args.out / "features"
    tasks = shots.tasks(dataset.load(args.out), args.data, args.seed)
    draws = 2 if args.quick else DRAWS
    models = {"int8": to, "float": cache / f"{args.backbone}-float"}
    table: dict[str, Any] = {}
    for task in tasks:
        table[task.name] = {"tested": sum(map(len, task.test.values()))}
        for kind, model in models.items():
            result = measure(task, Extractor(model, cache), task.sizes, draws)
            table[task.name][kind] = result
            print(task.name, kind, json.dumps(result), flush=True)
    views = measure_views(tasks, to, cache, draws)
    figures = json.loads(json.dumps({"draws": draws, "tasks": table, "views": views}))
    (cache / f"{args.backbone}.json").write_text(json.dumps(figures, indent=1))
    readme = to / "README.md"
    text = readme.read_text() if readme.is_file() else f"# {to.name}\n"
    readme.write_text(insert(text, render(figures)))
    print(readme)


if __name__ == "__main__":
    try:
        main()
    except EdgeError as exc:
        sys.exit(str(exc))
