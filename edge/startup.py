"""The attested start: a model is used only after it has proven what its card says.

Composes card, classifier and preprocessing, and opens the camera for them; used by the daemon and
by every command that classifies. The golden picture goes the whole way, as a frame would. A model
that has never proven itself is tried in a child process first: it may crash its interpreter.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge import card as cards
from edge import config as configs
from edge.attempt import Attempt, content, threads
from edge.camera import open_camera
from edge.camera.images import read_pixels
from edge.classifier import Classifier
from edge.config import CameraConfig, ModelConfig
from edge.errors import ModelError, boundary
from edge.modelcard import Golden, ModelCard
from edge.payloads import ModelInfo
from edge.preprocess import Preprocessor
from edge.recovery import Policy
from edge.types import Asked, Camera, Frame, View


@dataclass(frozen=True, slots=True)
class Engine:
    """A model that has proven itself, ready for frames."""

    card: ModelCard
    path: Path
    sha256: str
    classifier: Classifier
    preprocess: Preprocessor

    def classify(self, frame: Frame, out: NDArray[np.float32]) -> None:
        """Write the scores of one frame into ``out``, (C,) float32."""
        self.preprocess(frame, self.classifier.input_view())
        self.classifier.invoke()
        self.classifier.scores(out)


def start(config: ModelConfig) -> Engine:
    """Return the engine that ``config`` describes, verified and warm. Raises ModelError.

    Waits for the trial of a model that has not proven itself; ``Attempt`` and ``load`` are for a
    caller who cannot.
    """
    attempt = Attempt(config)
    attempt.run()
    return load(config, attempt.sha256)


def load(config: ModelConfig, proven: str = "") -> Engine:
    """Return the engine in this process, verified and warm. Raises ModelError.

    proven  sha256 of the file that was proven; another is refused
    """
    with boundary(ModelError, "the model cannot be used", config.path or "the shipped model"):
        card, path, sha256 = cards.find(config.path)
        classifier = Classifier(
            path,
            len(card.labels),
            card.output.activation,
            threads=threads(config),
            require_xnnpack=config.require_xnnpack,
            content=content(path, proven or sha256),
        )
        try:
            preprocess = Preprocessor(card.preprocessing, classifier.input)
        except ModelError as exc:
            raise ModelError(
                exc.what, where=str(path), expected=exc.expected, got=exc.got, mend=exc.mend
            ) from exc.__cause__
        with boundary(ModelError, "the model cannot be run", str(path)):
            classifier.warm_up()
        engine = Engine(card, path, sha256, classifier, preprocess)
        if card.golden:
            _attest(engine, card.golden)
        return engine


def _attest(engine: Engine, golden: Golden) -> None:
    """Raise ModelError unless the golden picture gives its golden scores."""
    picture = engine.path.parent / golden.picture
    frame = read_picture(picture)
    if frame is None:
        raise ModelError("golden picture is missing or unreadable", where=str(picture))
    scores = np.empty(len(golden.scores), np.float32)
    engine.classify(frame, scores)
    expected = np.asarray(golden.scores, np.float32)
    off = float(np.abs(scores - expected).max())
    if scores.argmax() != expected.argmax() or not off <= golden.tolerance:
        raise ModelError(
            "the model does not give its golden scores",
            where=f"{engine.path} on {engine.classifier.facts.runtime}",
            expected=f"{_shown(golden.scores)} within {golden.tolerance}",
            got=_shown(scores.tolist()),
            mend="the model, the card's [preprocessing] or the runtime is not the one it was"
            " made with",
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of a camera: the config's, and the model's. It travels with an opening.

    useful, any_shape  as in Asked
    """

    config: CameraConfig
    useful: tuple[int, int]
    any_shape: bool

    def open(self, first_sequence: int = 0) -> Camera:
        """Return the camera, open and told its controls. Raises EdgeError."""
        config, source = self.config, configs.source(self.config)
        opened = open_camera(
            Asked(
                source=source,
                shown=configs.without_credentials(source),
                width=config.width,
                height=config.height,
                fps=config.fps,
                format=config.format,
                transport=config.transport,
                view=view(config),
                fast=config.pace == "fast",
                loop=config.loop,
                timeout_s=config.stall_timeout_s,
                useful=self.useful,
                any_shape=self.any_shape,
                first_sequence=first_sequence,
                max_pixels=config.max_pixels,
                max_bytes=config.max_bytes,
            )
        )
        told = msgspec.structs.asdict(config.controls)
        try:
            opened.control({name: value for name, value in told.items() if value is not None})
        except BaseException:
            opened.close()
            raise
        return opened


def wanted(config: CameraConfig, engine: Engine) -> Wanted:
    """Return what ``config`` and the model want of a camera."""
    useful = engine.preprocess.useful(view(config))
    return Wanted(config, useful, engine.preprocess.any_shape)


def camera(config: CameraConfig, engine: Engine, first_sequence: int = 0) -> Camera:
    """Return the camera that ``config`` describes, open and told its controls. Raises EdgeError."""
    return wanted(config, engine).open(first_sequence)


def view(config: CameraConfig) -> View:
    """Return what is to be done to the camera's pictures."""
    return View(config.rotation, config.flip_horizontal, config.flip_vertical, config.roi)


def policy(config: CameraConfig) -> Policy:
    """Return what is put up with from the camera."""
    return Policy(
        config.required, config.stall_timeout_s, config.max_reopens, config.reopen_window_s
    )


def describe(engine: Engine) -> ModelInfo:
    """Return the model and what runs it, as proven."""
    facts, tensor = engine.classifier.facts, engine.classifier.input
    return ModelInfo(
        name=engine.card.name,
        version=engine.card.version,
        sha256=engine.sha256,
        labels=engine.card.labels,
        input_shape=tensor.shape,
        input_dtype=tensor.dtype.name,
        golden="passed" if engine.card.golden else "none",
        **asdict(facts),
    )


def read_picture(path: Path) -> Frame | None:
    """Return the picture in ``path`` as a frame, turned as its EXIF says; None if unreadable."""
    pixels = read_pixels(path)
    return None if pixels is None else Frame(0, 0, pixels, "bgr")


def _shown(scores: tuple[float, ...] | list[float]) -> str:
    best = sorted(enumerate(scores), key=lambda pair: -pair[1])[:3]
    return "(" + ", ".join(f"{index}: {score:.3f}" for index, score in best) + ")"
