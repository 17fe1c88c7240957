"""How good a model is, as the daemon runs it: through the interpreter, never Keras.

    python -m models.evaluate [--model models/catdog] [--data DIR] [--out build/model]

The pictures that training set aside are those that OUT/dataset.json calls held_out;
DIR/test_independent, where it is there, is another source, never used for any choice.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge import startup
from edge.config import ModelConfig
from edge.errors import ConfigError, EdgeError
from edge.startup import Engine
from models import data, dataset, options

Z95 = 1.959964


def evaluate(engine: Engine, samples: Sequence[data.Sample]) -> dict[str, Any]:
    """Return images, correct, accuracy and its 95 % Wilson interval."""
    scores = np.empty(len(engine.card.labels), np.float32)
    seen = correct = 0
    for sample in samples:
        frame = startup.read_picture(sample.path)
        if frame is None:
            continue
        engine.classify(frame, scores)
        seen += 1
        correct += int(scores.argmax()) == sample.label
    if not seen:
        raise ConfigError("none of the test pictures can be read", got=f"{len(samples)} files")
    low, high = wilson(correct, seen)
    return {
        "images": seen,
        "correct": correct,
        "accuracy": round(correct / seen, 4),
        "low95": round(low, 4),
        "high95": round(high, 4),
    }


def wilson(correct: int, images: int) -> tuple[float, float]:
    """Return the 95 % interval of a share. Source: Wilson 1927, JASA 22:209."""
    if not images:
        return 0.0, 1.0
    share, z2 = correct / images, Z95 * Z95
    middle = share + z2 / (2 * images)
    half = Z95 * math.sqrt(share * (1 - share) / images + z2 / (4 * images * images))
    return (middle - half) / (1 + z2 / images), (middle + half) / (1 + z2 / images)


def test_sets(folder: Path, out: Path) -> dict[str, list[data.Sample]]:
    """Return the test sets there are, by name."""
    sets: dict[str, list[data.Sample]] = {}
    if (out / "dataset.json").is_file():
        found = dataset.load(out)
        sets["held_out"] = [found.samples[i] for i in found.indices("held_out")]
    if (folder / "test_independent").is_dir():
        sets["test_independent"] = data.scan(folder / "test_independent")[1]
    if not sets:
        raise ConfigError("no test pictures", where=f"{out / 'dataset.json'} and {folder}")
    return sets


def evaluate_all(model: Path, folder: Path, out: Path) -> dict[str, dict[str, Any]]:
    """Return the figures of ``model`` on every test set there is."""
    engine = startup.start(ModelConfig(path=str(model)))
    return {name: evaluate(engine, samples) for name, samples in test_sets(folder, out).items()}


def main() -> None:
    """Print one JSON line a test set."""
    parser = options.parser(__doc__)
    parser.add_argument("--model", type=Path, default=options.SHIPPED)
    args = parser.parse_args()
    for name, figures in evaluate_all(args.model, args.data, args.out).items():
        print(json.dumps({"set": name, **figures}))


if __name__ == "__main__":
    try:
        main()
    except EdgeError as exc:
        sys.exit(str(exc))
