"""Accuracy of a model, as the daemon runs it: through the interpreter, never Keras.

    python -m models.evaluate [--model models/catdog] [--data DIR] [--out build/model]

The test pictures are those that OUT/dataset.json calls held_out; DIR/test_independent, if present,
is another source, never used for any choice. Prints one JSON line for each test set; writes
OUT/worst-SET.jpg, the wrong pictures with the highest scores.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from edge.config import ModelConfig
from edge.errors import ConfigError, EdgeError, ModelError
from edge.model.engine import Engine, Unreadable, read_picture, start
from models import data, dataset, metrics, options

WORST: Final = 24
"""Pictures on a contact sheet, in rows of 6."""
TILE: Final = 160
FONT: Final = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores of a model, (N, C), and the N samples that could be read."""

    samples: tuple[data.Sample, ...]
    scores: metrics.Scores

    @property
    def classes(self) -> metrics.Classes:
        """The true classes, (N,)."""
        return np.array([sample.label for sample in self.samples], np.int64)

    def figures(self) -> dict[str, Any]:
        """Return the figures of ``metrics.figures``."""
        return metrics.figures(self.scores, self.classes)


def judge(engine: Engine, samples: Sequence[data.Sample]) -> Judged:
    """Return the model's scores; unreadable pictures are left out. Raises where all are."""
    readable, scores = [], []
    for sample in samples:
        try:
            frame = read_picture(sample.path)
        except Unreadable:
            continue
        out = np.empty(len(engine.card.labels), np.float32)
        if not engine.classify(frame, out):
            fault = engine.classifier.fault()
            raise ModelError("the model gives no scores", where=str(sample.path), got=fault)
        readable.append(sample)
        scores.append(out)
    if not readable:
        raise ConfigError("none of the test pictures can be read", got=f"{len(samples)} files")
    return Judged(tuple(readable), np.stack(scores))


def test_sets(folder: Path, out: Path) -> dict[str, list[data.Sample]]:
    """Return the test sets by name."""
    sets: dict[str, list[data.Sample]] = {}
    if (out / "dataset.json").is_file():
        corpus = dataset.load(out)
        sets["held_out"] = [corpus.samples[i] for i in corpus.indices("held_out")]
    if (folder / "test_independent").is_dir():
        sets["test_independent"] = data.scan(folder / "test_independent")[1]
    if not sets:
        raise ConfigError("no test pictures", where=f"{out / 'dataset.json'} and {folder}")
    return sets


def judge_all(model: Path, sets: Mapping[str, Sequence[data.Sample]]) -> dict[str, Judged]:
    """Return the scores of ``model`` for every set."""
    engine = start(ModelConfig(path=str(model)))
    return {name: judge(engine, samples) for name, samples in sets.items()}


def contact_sheet(judged: Judged, to: Path) -> int:
    """Draw the wrong pictures with the highest scores first; return how many are wrong."""
    wrong = np.flatnonzero(judged.scores.argmax(axis=1) != judged.classes)
    wrong = wrong[np.argsort(-judged.scores[wrong].max(axis=1), kind="stable")]
    sheet = np.full((WORST // 6 * TILE, 6 * TILE, 3), 32, np.uint8)
    for place, index in enumerate(wrong[:WORST]):
        picture = cv2.resize(data.read_rgb(judged.samples[index].path), (TILE, TILE))
        caption = f"{judged.samples[index].path.parent.name} {1 - judged.scores[index].max():.3f}"
        cv2.putText(picture, caption, (4, TILE - 6), FONT, 0.45, (255, 255, 0))
        row, column = divmod(place, 6)
        sheet[row * TILE :, column * TILE :][:TILE, :TILE] = picture[:, :, ::-1]
    cv2.imwrite(str(to), sheet)
    return len(wrong)


def main() -> None:
    """Print the figures, draw the contact sheets."""
    parser = options.parser(__doc__)
    parser.add_argument("--model", type=Path, default=options.SHIPPED)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, judged in judge_all(args.model, test_sets(args.data, args.out)).items():
        table = metrics.confusion(judged.scores, judged.classes).tolist()
        print(json.dumps({"set": name, **judged.figures(), "confusion": table}))
        contact_sheet(judged, args.out / f"worst-{name}.jpg")


if __name__ == "__main__":
    try:
        main()
    except EdgeError as exc:
        sys.exit(str(exc))
