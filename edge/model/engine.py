"""The engine: a model that has proven what its card says, ready for frames.

Composes card, classifier and preprocessing; used by the daemon and by every command that
classifies. The golden picture goes the whole way, as a frame would. A model that has never proven
itself is tried in a child process first: it may crash its interpreter.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge import fence, files
from edge.baseline import Baseline
from edge.config import ModelConfig
from edge.contract import ModelInfo
from edge.errors import ModelError, boundary
from edge.frames import Frame, View
from edge.model import attest, baselinefile, golden, headfile, locate
from edge.model.attempt import Attempt, threads
from edge.model.card import MODEL_MAX_BYTES, InputFrom, ModelCard
from edge.model.cascade import Cascade
from edge.model.golden import read_picture as read_picture
from edge.model.modelfile import ModelFile
from edge.model.preprocess import Preprocessor
from edge.model.runtime import Classifier
from edge.pictures.picture import Unreadable as Unreadable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Engine:
    """A model that has proven itself, ready for frames.

    card        completed from the file where it leaves something out
    path        of the network's file
    sha256      of the same
    folder      of the card: head and golden picture lie there
    input_from  where its mean and std come from
    warnings    doubts about the card; logged at the start
    baseline    what its pictures and scores were like when it was taught, where the card has it
    second      the model that is asked where this one is unsure, by ``cascade``
    """

    card: ModelCard
    path: Path
    sha256: str
    folder: Path
    classifier: Classifier
    preprocess: Preprocessor
    input_from: InputFrom
    warnings: tuple[str, ...]
    baseline: Baseline | None = None
    second: Engine | None = None
    cascade: Cascade | None = None

    @property
    def stages(self) -> tuple[Callable[[Frame, NDArray[np.generic]], None], Classifier | Cascade]:
        """Preprocessing and network, for a pipeline."""
        if self.cascade is not None:
            return self.cascade.preprocess, self.cascade
        return self.preprocess, self.classifier

    @property
    def useful(self) -> tuple[int, int]:
        """Width and height of a picture; more pixels would not be used."""
        return self.preprocess.useful(View())

    def classify(self, frame: Frame, out: NDArray[np.float32]) -> bool:
        """Write the scores of one frame into ``out``, (C,) float32; False where there are none."""
        preprocess, classifier = self.stages
        preprocess(frame, classifier.input_view())
        classifier.invoke()
        return classifier.scores(out)


def start(config: ModelConfig) -> Engine:
    """Return the engine that ``config`` describes, verified and warm. Raises ModelError.

    Waits for the trial of a model that has not proven itself; a caller that cannot wait uses
    ``Attempt`` and ``load``.
    """
    attempt = Attempt(config)
    attempt.run()
    return load(config, attempt.sha256)


def load(config: ModelConfig, proven: str = "") -> Engine:
    """Return the engine in this process, verified and warm. Raises ModelError.

    proven  sha256 of the file that was proven; another is refused
    """
    engine = prepare(config, proven, "scores")
    return _with_second(engine, config) if config.second else engine


def _with_second(engine: Engine, config: ModelConfig) -> Engine:
    """Return the engine with the second model that ``config`` names; it is tried, if it must be.

    Without, and with a warning, where its labels are others: ``engine`` may be a model that was
    taught later. Raises ModelError.
    """
    with boundary(ModelError, "the second model cannot be used", config.second):
        try:
            second = start(config.alone(config.second))
        except ModelError as exc:
            where = exc.where.replace("model.path", "model.second")
            raise ModelError(
                exc.what, where=where, expected=exc.expected, got=exc.got, hint=exc.hint
            ) from exc.__cause__
    if second.card.labels != engine.card.labels:
        warning = f"model.second {config.second} has other labels: it is not asked"
        log.warning("%s: %s", engine.path, warning)
        return replace(engine, warnings=(*engine.warnings, warning))
    cascade = Cascade(engine.preprocess, engine.classifier, second.classify, config.second_below)
    return replace(engine, second=second, cascade=cascade)


@fence.lifted()
def prepare(config: ModelConfig, proven: str, gives: locate.Gives) -> Engine:
    """Return a model that gives scores or features, verified and warm. Raises ModelError.

    proven  as of ``load``
    """
    with boundary(ModelError, "the model cannot be used", config.path or "the shipped model"):
        file = locate.find(config.path, gives)
        card = file.card
        classifier = Classifier(
            file.path,
            len(card.labels),
            card.output.activation if "output.activation" in file.given else None,
            threads=threads(config),
            require_xnnpack=config.require_xnnpack,
            size=card.preprocessing.input,
            usual_size=file.stated.size,
            content=_content(file.path, proven or file.sha256),
            head=_head(file),
        )
        card, input_from, warnings = attest.complete(file, classifier)
        try:
            preprocess = Preprocessor(card.preprocessing, classifier.input)
            warnings += attest.doubts(card.preprocessing, input_from, classifier)
        except ModelError as exc:
            raise ModelError(
                exc.what, where=file.where, expected=exc.expected, got=exc.got, hint=exc.hint
            ) from exc.__cause__
        engine = Engine(
            *(card, file.path, file.sha256, file.folder, classifier, preprocess, input_from),
            *((), _baseline(file, classifier)),
        )
        with boundary(ModelError, "the model cannot be run", file.where):
            warnings += attest.prove(engine.classify, classifier, file)
        if card.golden:
            golden.check(card.golden, file.folder, engine.classify, classifier, file.where)
        for warning in warnings:
            log.warning("%s: %s", file.where, warning)
        return replace(engine, warnings=tuple(warnings))


def _content(path: Path, sha256: str) -> bytes:
    """Return the model file, which must still be the one that was proven. Raises ModelError."""
    try:
        content = files.read(path, MODEL_MAX_BYTES)
    except OSError as exc:
        raise ModelError(f"the model cannot be read: {exc.strerror}", where=str(path)) from exc
    if hashlib.sha256(content).hexdigest() != sha256:
        reason = "the model's file has changed while it was being proven"
        raise ModelError(reason, where=str(path), hint="try again")
    return content


def _head(file: ModelFile) -> headfile.Head | None:
    """Return the head that the card names, None where it names none. Raises ModelError."""
    head = file.card.head
    return headfile.read(file.folder / head.file, head.sha256) if head else None


def _baseline(file: ModelFile, classifier: Classifier) -> Baseline | None:
    """Return the baseline that the card names, None where it names none. Raises ModelError."""
    named = file.card.baseline
    if named is None:
        return None
    features = classifier.features()
    size = 0 if features is None else len(features)
    return baselinefile.read(file.folder / named.file, named.sha256, size)


def describe(engine: Engine) -> ModelInfo:
    """Return the model and its runtime as the record that ``info`` publishes."""
    facts, tensor = engine.classifier.facts, engine.classifier.input
    return ModelInfo(
        name=engine.card.name,
        version=engine.card.version,
        sha256=engine.sha256,
        labels=engine.card.labels,
        input_shape=tensor.shape,
        input_dtype=tensor.dtype.name,
        golden="passed" if engine.card.golden else "none",
        head_sha256=engine.card.head.sha256 if engine.card.head else "",
        input_from=engine.input_from,
        second=engine.second.card.name if engine.second else "",
        second_sha256=engine.second.sha256 if engine.second else "",
        background=engine.card.background,
        resize=engine.card.preprocessing.resize,
        central_fraction=engine.card.preprocessing.central_fraction,
        **asdict(facts),
    )


def input_text(engine: Engine) -> str:
    """Return size, colour, mean and std of the input, and where they come from, in words."""
    how, shape = engine.card.preprocessing, engine.classifier.input.shape
    text = f"{shape[2]}x{shape[1]} {how.color}, mean {how.mean}, std {how.std}"
    if engine.input_from == "assumed":
        return f"{text}: assumed, because neither card nor file says; set them in {locate.CARD}"
    source = "card" if engine.input_from == "card" else f"file's {engine.input_from}"
    return f"{text}: from the {source}"
