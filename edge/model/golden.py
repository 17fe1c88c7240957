"""The golden picture: it must give the scores, or the features, that the card says.

It goes the whole way: from a file, as a frame, through preprocessing, network and head. Runtimes
and machines round differently, so that a tolerance is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError
from edge.frames import Frame
from edge.model.card import Golden
from edge.model.runtime import Classifier
from edge.pictures.picture import Unreadable
from edge.pictures.read import read_pixels

Classify = Callable[[Frame, NDArray[np.float32]], bool]
SAMPLED: Final = 64
"""Features of a golden picture. Of 1,280 they tell faults (a distance of 0.24 of their length and
more) from other kernels (up to 0.13) as well as all of them do."""
_HINT = (
    "the model, the card's [preprocessing] or the runtime is not the one that the {} were made with"
)


def read_picture(path: Path) -> Frame:
    """Return the picture in ``path`` as a frame, turned as its EXIF says. Raises Unreadable."""
    return Frame(0, 0, read_pixels(path), "bgr")


def sample(features: NDArray[np.float32], total: int = SAMPLED) -> NDArray[np.float32]:
    """Return (total,) of the (F,) features, evenly spaced; all where there are no more."""
    total = min(total, len(features))
    return features[: total * (len(features) // total) : len(features) // total]


def check(
    golden: Golden, folder: Path, classify: Classify, classifier: Classifier, where: str
) -> None:
    """Raise ModelError unless the golden picture gives what ``golden`` says.

    folder  the picture's
    where   the model, for an error
    """
    picture = folder / golden.picture
    try:
        frame = read_picture(picture)
    except Unreadable as exc:
        raise ModelError(f"the golden picture cannot be used: {exc}", where=str(picture)) from exc
    where = f"{where} on {classifier.facts.runtime}"
    values = np.empty(classifier.values_total, np.float32)
    kind = "features" if golden.features else "scores"
    if not classify(frame, values):
        raise ModelError(
            f"the model gives no {kind} for its golden picture",
            where=where,
            got=classifier.fault(),
        )
    if golden.features:
        _check_features(golden, values, where)
    else:
        _check_scores(golden, values, where)


def _check_scores(golden: Golden, scores: NDArray[np.float32], where: str) -> None:
    expected = np.asarray(golden.scores, np.float32)
    off = float(np.abs(scores - expected).max())
    if scores.argmax() != expected.argmax() or not off <= golden.tolerance:
        raise ModelError(
            "the model does not give its golden scores",
            where=where,
            expected=f"{_best(golden.scores)} within {golden.tolerance}",
            got=_best(scores.tolist()),
            hint=_HINT.format("scores"),
        )


def _check_features(golden: Golden, features: NDArray[np.float32], where: str) -> None:
    expected = np.asarray(golden.features, np.float64)
    if len(expected) > len(features):
        raise ModelError(
            "more golden features than the model has",
            where=where,
            expected=f"at most {len(features)}",
            got=str(len(expected)),
        )
    off = sample(features, len(expected)).astype(np.float64) - expected
    share = float(np.linalg.norm(off) / np.linalg.norm(expected))
    if not share <= golden.tolerance:
        raise ModelError(
            "the model does not give its golden features",
            where=where,
            expected=f"a distance of at most {golden.tolerance} of their length",
            got=f"{share:.3f}",
            hint=_HINT.format("features"),
        )


def _best(scores: Sequence[float]) -> str:
    """Return the three best scores in words."""
    best = sorted(enumerate(scores), key=lambda pair: -pair[1])[:3]
    return "(" + ", ".join(f"{index}: {score:.3f}" for index, score in best) + ")"
