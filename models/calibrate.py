"""How far scores can be trusted, and the thresholds that a model's card recommends.

    python -m models.calibrate [--model models/catdog] [--out build/model]

Looks at validation pictures alone. A source with at least LEAST pictures counts as one, the smaller
ones together as another, and each counts alike, however many pictures it has: the model will meet a
source that it has not seen. Prints JSON: reliability by source, a temperature and what it would
gain (models.export has folded one into the network already), and for every threshold the false
alarms and the subjects lost.

Rule for `enter`: the lowest step from the daemon's default at which no source of background
pictures has more false alarms than ALARMS, or one picture where that is less than one; but at most
LOST of the subjects that the model has right may be lost: where no step keeps to both, the highest
that keeps to LOST, or the default. A single picture stands for a still scene, where smoothing
averages nothing away.
Rule for `exit`: 1 - `enter`. Where one certain label gives way to another, the second then appears
before the first has gone, and no moment without a label comes between.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.config.smoothing import DEFAULT
from edge.errors import ConfigError, EdgeError
from edge.model import locate
from models import metrics, options
from models.judge import Judged, classes_of, find_sets, judge_all

LEAST: Final = 50
OTHERS: Final = "others"
ALARMS: Final = 0.01
LOST: Final = 0.05
STEP: Final = 0.05
HIGHEST: Final = 0.95
BINS: Final = 10
"""Bins of a reliability curve."""
SMALLEST: Final = 1 / 512
"""Half a step of an int8 score: less than that counts as that."""
TEMPERATURES: Final = np.geomspace(0.25, 4, 121)


def sources(judged: Judged, chosen: NDArray[np.bool_]) -> dict[str, NDArray[np.int64]]:
    """Return the indices of the chosen samples by source; the small ones together.

    chosen  (N,)
    """
    named = np.array([sample.source for sample in judged.samples])
    names, counts = np.unique(named[chosen], return_counts=True)
    large = [str(name) for name in names[counts >= LEAST]]
    result = {name or "unnamed": np.flatnonzero(chosen & (named == name)) for name in large}
    rest = np.flatnonzero(chosen & ~np.isin(named, large))
    return result | {OTHERS: rest} if len(rest) else result


def alike(parts: dict[str, NDArray[np.int64]], values: NDArray[Any]) -> float:
    """Return the mean over sources of each one's mean of ``values``, (N,)."""
    return float(np.mean([values[part].mean() for part in parts.values()]))


def reliability(scores: metrics.Scores, classes: metrics.Classes) -> list[dict[str, float]]:
    """Return, for each bin of the best score: its pictures, their mean score, the share right."""
    best, right = scores.max(axis=1), scores.argmax(axis=1) == classes
    bins = np.minimum((best * BINS).astype(np.int64), BINS - 1)
    return [
        {
            "images": int((bins == number).sum()),
            "score": round(float(best[bins == number].mean()), 4),
            "right": round(float(right[bins == number].mean()), 4),
        }
        for number in np.unique(bins)
    ]


def warmed(scores: metrics.Scores, temperature: float) -> metrics.Scores:
    """Return the scores that logits divided by ``temperature`` would give. Source: Guo 2017."""
    logits = np.log(np.maximum(scores, SMALLEST)) / temperature
    exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponent / exponent.sum(axis=1, keepdims=True), np.float32)


def losses(scores: metrics.Scores, classes: metrics.Classes) -> NDArray[np.float64]:
    """Return the negative log-likelihood of each true class, (N,)."""
    true = scores[np.arange(len(classes)), classes].astype(np.float64)
    return np.asarray(-np.log(np.maximum(true, SMALLEST)), np.float64)


def temperature(judged: Judged, chosen: NDArray[np.bool_]) -> float:
    """Return the temperature with the lowest loss on the chosen samples, sources alike."""
    parts = sources(judged, chosen)
    classes = judged.classes
    found = [alike(parts, losses(warmed(judged.scores, t), classes)) for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(found))])


def thresholds(lowest: float) -> list[float]:
    """Return the steps from ``lowest`` to HIGHEST."""
    return [round(float(v), 2) for v in np.arange(lowest, HIGHEST + STEP / 2, STEP)]


def trade_off(
    judged: Judged, labels: Sequence[str], background: Sequence[str], lowest: float
) -> list[dict[str, Any]]:
    """Return for each threshold what it costs, on single pictures.

    false_alarms  share of background pictures whose best subject reaches it, sources alike
    worst, where  the same share of the worst source, and its name
    allowed       no source has more than ALARMS, or one picture
    lost          share of the subjects that the model has right that do not reach it, alike
    """
    numbers = [labels.index(name) for name in background]
    classes, best = judged.classes, judged.scores.argmax(axis=1)
    empty = np.isin(classes, numbers)
    right = ~empty & (best == classes)
    subjects = [i for i in range(judged.scores.shape[1]) if i not in numbers]
    reached = judged.scores[:, subjects].max(axis=1) + metrics.ROUNDING
    quiet, shown = sources(judged, empty), sources(judged, right)
    rows = []
    for threshold in thresholds(lowest):
        over = reached >= threshold
        shares = {name: float(over[part].mean()) for name, part in quiet.items()}
        where = max(shares, key=lambda name: shares[name], default="")
        rows.append(
            {
                "threshold": threshold,
                "false_alarms": round(alike(quiet, over), 4) if quiet else 0.0,
                "worst": round(shares.get(where, 0.0), 4),
                "where": where,
                "allowed": all(
                    over[part].sum() <= max(1, ALARMS * len(part)) for part in quiet.values()
                ),
                "lost": round(alike(shown, ~over), 4) if shown else 0.0,
            }
        )
    return rows


def recommend(
    judged: Judged, labels: Sequence[str], background: Sequence[str]
) -> tuple[float, float]:
    """Return ``enter`` and ``exit`` for the daemon's smoothing; its defaults without background.

    judged  validation pictures
    """
    if not any(labels[sample.label] in background for sample in judged.samples):
        return DEFAULT.enter, DEFAULT.exit
    rows = trade_off(judged, labels, background, DEFAULT.enter)
    kept = [row for row in rows if row["lost"] <= LOST] or rows[:1]
    enter = next((row for row in kept if row["allowed"]), kept[-1])["threshold"]
    return enter, round(1 - enter, 2)


def measure(judged: Judged, labels: Sequence[str], background: Sequence[str]) -> dict[str, Any]:
    """Return all that the module's text says, of validation pictures. Raises ConfigError.

    quiet  whether ``enter`` keeps to ALARMS; false where LOST stood against it
    """
    scores, classes = judged.scores, judged.classes
    if (classes >= scores.shape[1]).any():
        raise ConfigError("the model does not have every class of the validation pictures")
    every = np.ones(len(classes), bool)
    parts = sources(judged, every)
    half = np.arange(len(classes)) % 2 == 0
    crossed = np.empty_like(scores)  # each half by the temperature of the other
    crossed[half] = warmed(scores, temperature(judged, ~half))[half]
    crossed[~half] = warmed(scores, temperature(judged, half))[~half]
    enter, leave = recommend(judged, labels, background)
    rows = trade_off(judged, labels, background, DEFAULT.exit)
    return {
        "enter": enter,
        "exit": leave,
        "quiet": next((row["allowed"] for row in rows if row["threshold"] == enter), True),
        "temperature": round(temperature(judged, every), 3),
        "loss": round(alike(parts, losses(scores, classes)), 4),
        "loss_warmed": round(alike(parts, losses(crossed, classes)), 4),
        "sources": {
            name: {
                "images": len(part),
                "ece": round(metrics.calibration_error(scores[part], classes[part]), 4),
                "ece_warmed": round(metrics.calibration_error(crossed[part], classes[part]), 4),
                "reliability": reliability(scores[part], classes[part]),
            }
            for name, part in parts.items()
        },
        "trade_off": rows,
    }


def main() -> None:
    """Print the measurements."""
    parser = options.parser(__doc__)
    parser.add_argument("--model", type=Path, default=options.SHIPPED, help="folder of the model")
    args = parser.parse_args()
    card = locate.find(str(args.model)).card
    labels, background = classes_of(card, args.out, args.background)
    sets = {"validation": find_sets(args.data, args.out, labels).get("validation", [])}
    if not sets["validation"]:
        raise ConfigError("no validation pictures", where=str(args.out))
    judged = judge_all(args.model, sets, args.out)["validation"]
    print(json.dumps(measure(judged, labels, [labels[i] for i in background]), indent=1))


if __name__ == "__main__":
    try:
        main()
    except EdgeError as exc:
        sys.exit(str(exc))
