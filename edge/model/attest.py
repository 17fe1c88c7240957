"""Checks at the start of a model: it fits its card, and gives probabilities.

``complete`` fills in what the card leaves out from the file. ``prove`` classifies a few pictures
whose right label is unknown, but whose scores must be numbers from 0 to 1 that sum to 1 where
they should. Knows no camera.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelError
from edge.frames import Frame
from edge.model.bundle import gives_features
from edge.model.card import InputFrom, ModelCard, Preprocessing
from edge.model.locate import CARD, ModelFile
from edge.model.normalisation import contradiction, normalisation
from edge.model.runtime import Classifier

SIDE: Final = 64
"""Pixels of a side of the test pictures."""
LAST: Final = ("SOFTMAX", "LOGISTIC")
"""Last layers that give probabilities."""


def complete(file: ModelFile, classifier: Classifier) -> tuple[ModelCard, InputFrom, list[str]]:
    """Return the completed card, where its mean and std come from, and warnings.

    What the card says is kept; the file fills in the rest.
    """
    card, given = file.card, file.given
    how, tensor = card.preprocessing, classifier.input
    source: InputFrom = "card"
    if len(tensor.shape) == 4 and tensor.shape[3] == 1 and "preprocessing.color" not in given:
        how = msgspec.structs.replace(how, color="gray")
    if not {"preprocessing.mean", "preprocessing.std"} & given:
        mean, std, source = normalisation(tensor, file.stated, classifier.first)
        how = msgspec.structs.replace(how, mean=mean, std=std)
    output = msgspec.structs.replace(card.output, activation=classifier.activation)
    _check_last(card, classifier, file.where)
    warnings = []
    if source == "quantisation" and file.stated.mean:
        text = f"mean {list(file.stated.mean)}, std {list(file.stated.std)}"
        warnings.append(f"metadata: {text} contradict the input's quantisation; that is used")
    if classifier.facts.kind == "int16":
        warnings.append("int16 activations: XNNPACK has no kernels for them; TFLite's are slow")
    return msgspec.structs.replace(card, preprocessing=how, output=output), source, warnings


def _check_last(card: ModelCard, classifier: Classifier, where: str) -> None:
    """Raise ModelError where a card asks for a softmax after one."""
    if card.output.activation == "logits" and classifier.last in LAST:
        last = classifier.last.lower()
        right = "sigmoid" if classifier.last == "LOGISTIC" else "softmax"
        raise ModelError(
            f"the model's last layer is already a {last}",
            where=f"{where}: output.activation",
            expected=right,
            got="logits",
            hint=f'set activation = "{right}" in [output] of {CARD}',
        )


def doubts(how: Preprocessing, source: InputFrom, classifier: Classifier) -> list[str]:
    """Return a warning where the file contradicts its card or its metadata."""
    if source not in ("card", "metadata"):
        return []
    text = contradiction(how, classifier.input, classifier.first)
    return [f"{'[preprocessing]' if source == 'card' else 'metadata'}: {text}"] if text else []


def prove(
    classify: Callable[[Frame, NDArray[np.float32]], bool],
    classifier: Classifier,
    file: ModelFile,
) -> list[str]:
    """Classify a few pictures; return warnings. Raises ModelError.

    Numbers that are not probabilities are refused at once. Values that are not finite are refused
    where every picture gives them; a model that fails for black pictures only works by day.
    """
    scores = np.empty(classifier.values_total, np.float32)
    kind = "features" if gives_features(file.card) else "scores"
    failed, total = [], 0
    for name, frame in _pictures():
        total += 1
        if classify(frame, scores):
            continue
        if classifier.finite:
            raise ModelError(
                "the model's output is not probabilities",
                where=file.where,
                got=f"{classifier.fault()}, for a {name} picture",
                hint=_hint(classifier, file),
            )
        failed.append(name)
    if len(failed) == total:
        raise ModelError(
            "the model's output is not finite",
            where=file.where,
            got=f"{classifier.fault()}, for every picture",
            hint="convert it again, or correct `mean` and `std` in [preprocessing]",
        )
    if not failed:
        return []
    names = " and a ".join(failed)
    return [f"gives no finite {kind} for a {names} picture; such frames are dropped and counted"]


def _pictures() -> Iterator[tuple[str, Frame]]:
    """Yield test pictures with their names."""
    for name, value in (("black", 0), ("grey", 128), ("white", 255)):
        yield name, Frame(0, 0, np.full((SIDE, SIDE, 3), value, np.uint8), "bgr")
    count = np.arange(SIDE * SIDE * 3, dtype=np.uint64)
    noise = (count * 2654435761 >> 24).astype(np.uint8)  # Knuth; numpy.random would take 3 MB
    yield "noisy", Frame(0, 0, noise.reshape(SIDE, SIDE, 3), "bgr")


def _hint(classifier: Classifier, file: ModelFile) -> str:
    """Return what to change in the card, or else in the model."""
    activation = classifier.activation
    if activation == "softmax" and classifier.last == "LOGISTIC":
        activation = "sigmoid"
    elif classifier.last not in LAST and (
        activation == "softmax" or classifier.output.shape[-1] == 1
    ):
        activation = "logits"
    else:
        return "convert it with its last layer, a softmax or a sigmoid"
    line = f'set activation = "{activation}" in [output] of {CARD}'
    if file.given:
        return line
    return f"{line} beside the model, with its `name`, `file` and `labels`"
