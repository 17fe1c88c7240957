"""The preallocated interpreter on real models of every kind it must run."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edge.config import ModelConfig
from edge.errors import ModelError
from edge.frames import Frame
from edge.model import graph, runtime
from edge.model.card import TensorSpec
from edge.model.engine import describe, start
from edge.model.graph import Graph, Node, delegated, first_layers
from edge.model.runtime import Classifier
from edge.model.shape import input_shape
from tests.conftest import MODELS, model_folder

COLORS = {"red": (0, 0, 200), "green": (0, 200, 0), "blue": (200, 0, 0)}


def solid(color: str) -> Frame:
    """Return a frame of one colour."""
    return Frame(0, 0, np.full((48, 64, 3), COLORS[color], np.uint8), "bgr")


@pytest.mark.parametrize("name", ["int8", "uint8io", "float", "sigmoid"])
def test_every_kind_of_model_names_the_color(name: str, tmp_path: Path) -> None:
    """int8, uint8 and float; softmax and one sigmoid value."""
    engine = start(ModelConfig(path=str(model_folder(tmp_path / "m", name)), threads=1))
    scores = np.empty(len(engine.card.labels), np.float32)
    for label in engine.card.labels:
        engine.classify(solid(label), scores)
        assert engine.card.labels[int(scores.argmax())] == label
        assert scores.max() > 0.9
        assert scores.sum() == pytest.approx(1, abs=0.02)
    assert engine.classifier.facts.xnnpack
    assert engine.classifier.facts.kind == ("float" if name == "float" else "int8")


def test_no_more_threads_than_cores(tmp_path: Path) -> None:
    """TFLite's threads spin for one another; more of them than cores take a second an invoke."""
    path = str(model_folder(tmp_path / "m", "int8"))
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert start(ModelConfig(path=path, threads=8)).classifier.facts.threads == 1
        assert start(ModelConfig(path=path)).classifier.facts.threads == 1
    finally:
        os.sched_setaffinity(0, cores)


def test_logits_become_probabilities(tmp_path: Path) -> None:
    """A softmax is applied where the card says logits."""
    found = Classifier(MODELS / "float.tflite", 3, "logits", threads=1)
    found.input_view()[...] = 0
    found.invoke()
    scores = np.empty(3, np.float32)
    found.scores(scores)
    assert scores.sum() == pytest.approx(1)


def test_what_the_delegate_has_taken_is_known() -> None:
    """The quantise nodes at the edges of a uint8 model are TFLite's; the layers are XNNPACK's."""
    facts = Classifier(MODELS / "sigmoid.tflite", 2, "sigmoid", threads=1).facts
    assert facts.left_out == ("QUANTIZE", "QUANTIZE")
    assert facts.delegated_share == 0.6667
    assert Classifier(MODELS / "float.tflite", 3, "softmax", threads=1).facts.left_out == ()


def test_delegated_counts_back_from_what_the_delegate_gives() -> None:
    """Two parts, a node between them, and one that nobody needs."""
    nodes = (
        Node("CONV_2D", (0,), (1,)),
        Node("CUSTOM", (1,), (2,)),
        Node("CONV_2D", (2,), (3,)),
        Node("ADD", (3, 2), (4,)),
    )
    delegates = (Node("DELEGATE", (0,), (1,)), Node("DELEGATE", (2,), (4,)))
    assert delegated(Graph(nodes, delegates, {}, 0, 4)) == (
        ("CONV_2D", "CONV_2D", "ADD"),
        ("CUSTOM",),
    )
    assert delegated(Graph(nodes, (), {}, 0, 4)) == ((), ("CONV_2D", "CUSTOM", "CONV_2D", "ADD"))


FLOAT = np.dtype(np.float32)


def layers(*nodes: Node) -> Graph:
    """Return a float model of these nodes; tensors 0 to 9 hold pictures, 10 to 19 one number."""
    tensors = {index: TensorSpec((1, 8, 8, 3), FLOAT, 0.0, 0) for index in range(10)}
    tensors |= {index: TensorSpec((1,), FLOAT, 0.0, 0) for index in range(10, 20)}
    return Graph(nodes, (), tensors, 0, 9)


def test_first_layers_that_scale_are_known() -> None:
    """Keras's Rescaling and Normalization: each factor and summand, in order."""
    values = {10: 2.0, 11: 3.0, 12: 1.0, 13: 4.0}
    model = layers(
        Node("MUL", (0, 10), (1,)),
        Node("ADD", (11, 1), (2,)),
        Node("SUB", (2, 12), (3,)),
        Node("DIV", (3, 13), (4,)),
        Node("MUL", (4, 10), (5,)),
    )
    known = first_layers(model, lambda index: np.array([values[index]]))
    assert known is not None
    assert (known.factor.item(), known.offset.item()) == (0.5, 0.5)


@pytest.mark.parametrize(
    "node",
    [
        Node("CONV_2D", (0, 10), (1,)),
        Node("MUL", (0, 0), (1,)),
        Node("SUB", (10, 0), (1,)),
        Node("MUL", (0, 5), (1,)),
        Node("MUL", (0, 99), (1,)),
        Node("DIV", (0, 11), (1,)),
        Node("ADD", (0, 12), (1,)),
    ],
    ids=["other", "square", "swapped", "picture", "absent", "zero", "infinite"],
)
def test_first_layers_that_do_anything_else_are_not(node: Node) -> None:
    """Only one number, or one a channel, finite, and a factor above 0."""
    values = {10: 2.0, 11: 0.0, 12: np.inf}
    assert first_layers(layers(node), lambda index: np.array([values[index]])) is None


def test_an_input_with_two_readers_has_no_first_layer() -> None:
    """What one of them does is not done to the other's."""
    model = layers(Node("MUL", (0, 10), (1,)), Node("ADD", (0, 10), (2,)))
    assert first_layers(model, lambda _: np.array([2.0])) is None


@pytest.mark.parametrize(
    ("signature", "size", "usual", "shape"),
    [
        ((), None, None, (1, 224, 224, 3)),
        ((), (224, 224), (96, 96), (1, 224, 224, 3)),
        ((1, -1, -1, 3), (96, 128), None, (1, 96, 128, 3)),
        ((1, -1, -1, 3), None, (96, 96), (1, 96, 96, 3)),
        ((-1, 224, 224, 3), None, None, (1, 224, 224, 3)),
    ],
)
def test_a_size_that_is_open_is_filled(
    signature: tuple[int, ...],
    size: tuple[int, int] | None,
    usual: tuple[int, int] | None,
    shape: tuple[int, ...],
) -> None:
    """By the card, else by the metadata; a model's own size stays."""
    assert input_shape((1, 224, 224, 3), signature, size, usual, "m") == shape


@pytest.mark.parametrize(
    ("signature", "size", "words"),
    [
        ((1, -1, -1, 3), None, "leaves the size of its input open"),
        (
            (),
            (96, 96),
            r"`input` in .preprocessing. does not fit.*expected .224, 224., got .96, 96.",
        ),
        ((1, 224, -1, 3), (96, 96), "does not fit"),
        ((1, -1, -1, 3), (2049, 16), "too large: expected at most 2048 pixels a side"),
    ],
)
def test_a_size_that_does_not_fit_is_refused(
    signature: tuple[int, ...], size: tuple[int, int] | None, words: str
) -> None:
    """With what was expected, and the key that says it."""
    with pytest.raises(ModelError, match=words):
        input_shape((1, 224, 224, 3), signature, size, None, "m")


def test_a_model_without_its_delegate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a runtime that leaves an int8 model to the slow path, unless that is accepted."""

    def none_taken(_: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return (), ("CONV_2D",)

    monkeypatch.setattr(graph, "delegated", none_taken)
    with pytest.raises(ModelError, match=r"XNNPACK has not taken this int8 model.*require_xnnpack"):
        Classifier(MODELS / "int8.tflite", 3, "softmax", threads=1)
    slow = Classifier(MODELS / "int8.tflite", 3, "softmax", threads=1, require_xnnpack=False)
    assert not slow.facts.xnnpack


def test_a_uint8_model_may_run_without_the_delegate(monkeypatch: pytest.MonkeyPatch) -> None:
    """One scale a tensor: some runtimes give such models to XNNPACK, the Pi's to ruy by design."""
    monkeypatch.setattr(graph, "delegated", lambda _: ((), ("CONV_2D",)))
    found = Classifier(MODELS / "uint8.tflite", 3, "softmax", threads=1)
    assert (found.facts.kind, found.facts.xnnpack) == ("uint8", False)
    scores = np.empty(3, np.float32)
    found.input_view()[...] = np.array([255, 0, 0], np.uint8)
    found.invoke()
    found.scores(scores)
    assert scores.argmax() == 0
    assert scores[0] > 0.9


def test_without_a_runtime_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither package installed."""
    monkeypatch.setattr(runtime, "RUNTIMES", ("no_such_runtime",))
    with pytest.raises(ModelError, match="pip install ai-edge-litert"):
        Classifier(MODELS / "int8.tflite", 3, "softmax", threads=1)


@pytest.mark.parametrize(
    ("name", "labels", "activation"),
    [("float", 2, "softmax"), ("sigmoid", 3, "sigmoid"), ("sigmoid", 2, "softmax")],
)
def test_labels_must_fit_the_output(name: str, labels: int, activation: str) -> None:
    """Counted at load; a sigmoid's one value stands for two labels only."""
    with pytest.raises(ModelError, match="labels do not fit"):
        Classifier(MODELS / f"{name}.tflite", labels, activation, threads=1)  # type: ignore[arg-type]


def test_the_golden_picture_must_give_its_scores(tmp_path: Path) -> None:
    """Attested where it does; refused where the class differs or a score is too far off."""
    import cv2

    folder = model_folder(tmp_path / "m")
    cv2.imwrite(str(folder / "golden.png"), solid("red").pixels)
    card = (folder / "model.toml").read_text()
    for scores, message in (
        ("[0.98, 0.01, 0.01]", ""),
        ("[0.5, 0.25, 0.25]", "golden scores.*expected.*0.500.*got.*0.980"),
        ("[0.01, 0.98, 0.01]", "golden scores"),
    ):
        golden = f'[golden]\npicture = "golden.png"\nscores = {scores}\ntolerance = 0.1\n'
        (folder / "model.toml").write_text(card + golden)
        if message:
            with pytest.raises(ModelError, match=message):
                start(ModelConfig(path=str(folder)))
        else:
            assert describe(start(ModelConfig(path=str(folder)))).golden == "passed"
