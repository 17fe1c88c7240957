"""Two models, the large one only where the small one is unsure: accuracy against mean cost.

    python -m models.cascade [--small models/catdog] [--large models/catdog-large]
        --cost-small 58.2 --cost-large 391 [--unit "million multiplications"] [--out build/model]

Unsure: the margin between the small model's two best scores is below a threshold. Every picture
costs the small model, those it is unsure of the large one too. The thresholds are chosen on
validation pictures, sources alike, and reported on DIR/test_NAME, all of them together: the lowest
that gives half of what the large model gains, and all of it. Writes OUT/cascade.json, which
models.report shows, and OUT/cascade.png.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import ConfigError, EdgeError
from edge.model import locate
from models import calibrate, metrics, options, plots
from models.judge import Judged, classes_of, find_sets, judge_all, pool

THRESHOLDS: Final = tuple(round(step / 50, 2) for step in range(51))
"""Margins below which the large model is asked; a margin is never below 0."""
ALWAYS: Final = 1.01
"""A margin is always below this."""
GAINS: Final = {"half of the gain": 0.5, "all of the gain": 1.0}


@dataclass(frozen=True, slots=True)
class Pair:
    """Both models' scores of the same pictures; what a picture costs each.

    background  numbers of the background classes
    """

    small: Judged
    large: Judged
    background: tuple[int, ...]
    costs: tuple[float, float]


def margin(scores: metrics.Scores) -> NDArray[np.float32]:
    """Return the difference of the two best scores, (N,)."""
    two = np.partition(scores, -2, axis=1)[:, -2:]
    return np.asarray(two[:, 1] - two[:, 0], np.float32)


def pair(
    small: Judged, large: Judged, background: tuple[int, ...], costs: tuple[float, float]
) -> Pair:
    """Return both models' scores of the pictures that both could read. Raises ConfigError."""
    places = {sample.path: i for i, sample in enumerate(large.samples)}
    both = [i for i, sample in enumerate(small.samples) if sample.path in places]
    if not both:
        raise ConfigError("no picture has been judged by both models")
    other = [places[small.samples[i].path] for i in both]
    return Pair(small.part(np.array(both)), large.part(np.array(other)), background, costs)


def combined(both: Pair, threshold: float) -> tuple[Judged, NDArray[np.bool_]]:
    """Return the cascade's scores, and which pictures (N,) the large model was asked about."""
    asked = margin(both.small.scores) < threshold
    scores = np.where(asked[:, None], both.large.scores, both.small.scores)
    return Judged(both.small.samples, scores), asked


def point(both: Pair, threshold: float) -> dict[str, Any]:
    """Return figures and cost of the cascade with one threshold.

    asked             share of the pictures that the large model is asked about
    asked_background  share of the background pictures
    cost              mean of a picture
    cost_background   mean of a background picture, which a camera sees most of its life
    """
    judged, asked = combined(both, threshold)
    small, large = both.costs
    figures = judged.figures(both.background)
    kept = ("images", "correct", "background_images", "false_alarms")
    result = {"threshold": threshold, **{key: figures[key] for key in kept if key in figures}}
    result["asked"] = round(float(asked.mean()), 4)
    result["cost"] = round(small + large * float(asked.mean()), 4)
    empty = np.isin(judged.classes, both.background)
    if empty.any():
        result["asked_background"] = round(float(asked[empty].mean()), 4)
        result["cost_background"] = round(small + large * float(asked[empty].mean()), 4)
    return result


def accuracy(both: Pair, threshold: float) -> float:
    """Return the cascade's accuracy, sources alike."""
    judged, _ = combined(both, threshold)
    right = judged.scores.argmax(axis=1) == judged.classes
    return calibrate.alike(calibrate.sources(judged, np.ones(len(right), bool)), right)


def choose(both: Pair, gain: float) -> float:
    """Return the lowest threshold that gives a share of what the large model gains over the small.

    both  of validation pictures
    """
    low, high = accuracy(both, 0), accuracy(both, ALWAYS)
    wanted = low + gain * (high - low) - metrics.ROUNDING
    reached = (value for value in THRESHOLDS if accuracy(both, value) >= wanted)
    return next(reached, ALWAYS) if high > low else 0.0


def measure(validation: Pair, test: Pair) -> dict[str, Any]:
    """Return the curve on the test pictures, and the points that validation pictures chose.

    The large model alone costs only itself.
    """
    rows = {"small alone": point(test, 0), "large alone": point(test, ALWAYS)}
    for key in ("cost", "cost_background"):
        if key in rows["large alone"]:
            rows["large alone"][key] = test.costs[1]
    for name, gain in GAINS.items():
        threshold = choose(validation, gain)
        rows[name] = point(test, threshold)
        rows[name]["validation"] = point(validation, threshold)
    return {
        "chosen": {name: rows[name] for name in ("small alone", *GAINS, "large alone")},
        "curve": [point(test, threshold) for threshold in THRESHOLDS],
    }


def judge_both(args: argparse.Namespace) -> tuple[Pair, Pair]:
    """Return both models' scores of the validation and of the test pictures."""
    models = (args.small, args.large)
    small, large = (locate.find(str(model)).card for model in models)
    if small.labels != large.labels:
        raise ConfigError(
            "the two models have other labels",
            where=f"{args.small} and {args.large}",
            expected=", ".join(small.labels),
            got=", ".join(large.labels),
        )
    labels, background = classes_of(small, args.out, args.background)
    if len(labels) > len(small.labels):
        raise ConfigError(
            f"the models have no class `{labels[-1]}`", where=f"{args.small} and {args.large}"
        )
    sets = find_sets(args.data, args.out, labels)
    tests = [name for name in sets if name.startswith("test_")] or ["held_out"]
    wanted = {name: sets[name] for name in ("validation", *tests) if name in sets}
    if "validation" not in wanted or len(wanted) < 2:
        raise ConfigError("a cascade needs validation and test pictures", where=str(args.out))
    one, other = (judge_all(model, wanted, args.out) for model in models)
    costs = (args.cost_small, args.cost_large)

    def of(names: Sequence[str]) -> Pair:
        both = [pool([scores[name] for name in names]) for scores in (one, other)]
        return pair(both[0], both[1], background, costs)

    return of(["validation"]), of(tests)


def main() -> None:
    """Measure, write, draw, print."""
    parser = options.parser(__doc__)
    add = parser.add_argument
    add("--small", type=Path, default=options.SHIPPED, help="folder of the model that is first")
    add("--large", type=Path, default=options.SHIPPED.with_name("catdog-large"), help="the other")
    add("--cost-small", type=float, required=True, help="what a picture costs the small model")
    add("--cost-large", type=float, required=True, help="what it costs the large one")
    add("--unit", default="cost of a picture", help="what the costs are, for the tables")
    args = parser.parse_args()
    if not (args.cost_small > 0 and args.cost_large > 0):
        raise ConfigError("a cost is not above 0", got=f"{args.cost_small}, {args.cost_large}")
    names = {"small": args.small.name, "large": args.large.name, "unit": args.unit}
    result = names | measure(*judge_both(args))
    (args.out / "cascade.json").write_text(json.dumps(result, indent=1))
    plots.curves(None, result, args.out / "cascade.png")
    print(json.dumps(result["chosen"], indent=1))


if __name__ == "__main__":
    try:
        main()
    except EdgeError as exc:
        sys.exit(str(exc))
