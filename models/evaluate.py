"""How good a model is, for each set of pictures, each source and each group.

    python -m models.evaluate [--model models/catdog] [--data DIR] [--out build/model] [--json]

The sets: validation and held_out of OUT/dataset.json, and every DIR/test_NAME, which are other
sources, never used for any choice; ``together`` is all of the latter. Prints tables, or JSON;
writes OUT/worst-SET.jpg, the wrong pictures with the highest scores. OUT/scores keeps the scores.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from edge.errors import EdgeError
from edge.model import locate
from models import data, metrics, options, tables
from models.judge import Judged, classes_of, find_sets, judge_all, pool

WORST: Final = 24
"""Pictures on a contact sheet, in rows of 6."""
TILE: Final = 160
FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
TOGETHER: Final = "together"
IN_CARD: Final = (
    "images",
    "correct",
    "accuracy",
    "low95",
    "high95",
    "ece",
    "background_images",
    "false_alarms",
)


def measure(sets: Mapping[str, Judged], background: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Return the figures of every set, of ``together``, and of their sources and groups.

    Figures of ``metrics.figures``, and ``confusion``; ``source`` and ``group``: name -> figures,
    where there is more than one or it has a name.
    """
    every = dict(sets)
    tests = [judged for name, judged in sets.items() if name.startswith("test_")]
    if len(tests) > 1:
        every[TOGETHER] = pool(tests)
    result = {}
    for name, judged in every.items():
        table = metrics.confusion(judged.scores, judged.classes).tolist()
        result[name] = judged.figures(background) | {"confusion": table}
        for key in ("source", "group") if name != TOGETHER else ():
            result[name][key] = breakdown(judged, key, background)
    return result


def breakdown(judged: Judged, key: str, background: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Return the figures by ``source`` or ``group``, the largest first; without one: nothing."""
    named = np.array([getattr(sample, key) for sample in judged.samples])
    names, counts = np.unique(named, return_counts=True)
    if names.tolist() == [""]:
        return {}
    return {
        str(names[i]) or "unnamed": judged.part(named == names[i]).figures(background)
        for i in np.argsort(-counts, kind="stable")
    }


def card_figures(
    measured: Mapping[str, Mapping[str, Any]], suffix: str = ""
) -> dict[str, dict[str, float]]:
    """Return what a model's card says of every set in ``measured``."""
    return {
        f"{name}{suffix}": {key: figures[key] for key in IN_CARD if key in figures}
        for name, figures in measured.items()
    }


def contact_sheet(judged: Judged, to: Path, labels: Sequence[str] = ()) -> int:
    """Draw the wrong pictures with the highest scores first; return how many are wrong."""
    best = judged.scores.argmax(axis=1)
    wrong = np.flatnonzero(best != judged.classes)
    wrong = wrong[np.argsort(-judged.scores[wrong].max(axis=1), kind="stable")]
    sheet = np.full((WORST // 6 * TILE, 6 * TILE, 3), 32, np.uint8)
    for place, index in enumerate(wrong[:WORST]):
        picture = cv2.resize(data.read_rgb(judged.samples[index].path), (TILE, TILE))
        said = labels[best[index]] if labels else str(best[index])
        caption = f"{said} {judged.scores[index].max():.2f}"
        cv2.putText(picture, caption, (4, TILE - 6), FONT, 0.45, (0, 0, 0), 3)
        cv2.putText(picture, caption, (4, TILE - 6), FONT, 0.45, (255, 255, 0))
        row, column = divmod(place, 6)
        sheet[row * TILE :, column * TILE :][:TILE, :TILE] = picture[:, :, ::-1]
    cv2.imwrite(str(to), sheet)
    return len(wrong)


def main() -> None:
    """Print the figures, draw the contact sheets."""
    parser = options.parser(__doc__)
    parser.add_argument("--model", type=Path, default=options.SHIPPED, help="folder of the model")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    card = locate.find(str(args.model)).card
    labels, background = classes_of(card, args.out, args.background)
    sets = judge_all(args.model, find_sets(args.data, args.out, labels), args.out)
    measured = measure(sets, background)
    for name, judged in sets.items():
        contact_sheet(judged, args.out / f"worst-{name}.jpg", labels)
    if args.json:
        print(json.dumps(measured, indent=1))
        return
    subjects = [name for i, name in enumerate(labels) if i not in background]
    print(tables.legend(subjects), end="\n\n")
    print("\n".join(tables.sets({args.model.name: measured})), end="\n\n")
    print("\n".join(tables.parts(measured)), end="\n\n")
    print("\n".join(tables.confusions(measured, card.labels)))


if __name__ == "__main__":
    try:
        main()
    except EdgeError as exc:
        sys.exit(str(exc))
