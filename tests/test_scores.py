"""Scores that are not probabilities: refused at the start, later dropped and counted."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import ModelConfig, SmoothingConfig
from edge.contract import decode
from edge.errors import ModelError
from edge.frames import Frame, InvalidScores, Prediction
from edge.model.card import Activation, TensorSpec
from edge.model.engine import start
from edge.model.scores import Scores
from edge.pipeline.pipeline import Pipeline
from edge.pipeline.smoothing import Smoother
from tests.conftest import ROOT, Daemon, Listener, edge

CASES = ROOT / "tests" / "cases" / "models"
BLACK, RED = (0, 0, 0), (230, 230, 255)
"""BGR; the model `nan` gives NaN for the one, red for the other."""


def solid(color: tuple[int, int, int]) -> Frame:
    """Return a frame of one colour."""
    return Frame(0, 0, np.full((32, 32, 3), color, np.uint8), "bgr")


def case(name: str, folder: Path, card: str = "") -> str:
    """Return a copy of a model, with a card where one is given."""
    shutil.copytree(CASES / name, folder / name)
    if card:
        text = f'name = "x"\nfile = "m.tflite"\nlabels = ["red", "green", "blue"]\n{card}\n'
        (folder / name / "model.toml").write_text(text)
        return str(folder / name)
    return str(folder / name / "m.tflite")


def read(
    values: list[float], activation: Activation = "softmax", labels: int = 0, step: float = 0.0
) -> tuple[list[float] | None, str]:
    """Return what a float output's values are as probabilities, and why they are none."""
    total = labels or len(values)
    scores = Scores(
        TensorSpec((1, len(values)), np.dtype(np.float32), 0, 0), total, activation, step
    )
    out = np.full(total, 7, np.float32)
    if scores.read(np.asarray([values], np.float32), out):
        return [round(v, 4) for v in out.tolist()], scores.fault()
    assert out.tolist() == [7] * total, "what is no probability was handed on"
    return None, scores.fault()


@pytest.mark.parametrize(
    ("values", "activation", "fault"),
    [
        ([math.nan, 0.5, 0.5], "softmax", "1 of 3 values not finite"),
        ([0.2, math.nan, math.nan], "sigmoid", "2 of 3 values not finite"),
        ([math.inf, 0.0], "softmax", "1 of 2 values not finite"),
        ([0.0, -math.inf], "logits", "1 of 2 values not finite"),
        ([math.nan, 1.0], "logits", "1 of 2 values not finite"),
        ([4.66, -1.0, 0.1], "softmax", "values from -1 to 4.66, expected 0 to 1"),
        ([0.5, -0.1], "sigmoid", "values from -0.1 to 0.5, expected 0 to 1"),
        ([0.5, 1.1], "sigmoid", "values from 0.5 to 1.1, expected 0 to 1"),
        ([0.9, 0.9, 0.1], "softmax", "a sum of 1.9, expected 1"),
        ([0.1, 0.1, 0.1], "softmax", "a sum of 0.3, expected 1"),
    ],
)
def test_what_is_no_probability_is_not_handed_on(
    values: list[float], activation: Activation, fault: str
) -> None:
    """Neither NaN nor infinity, nor what is out of range or has the wrong sum."""
    assert read(values, activation) == (None, fault)


@pytest.mark.parametrize(
    ("values", "activation", "labels", "step", "scores"),
    [
        ([1.0005, -0.0005], "softmax", 2, 0.0, [1.0, 0.0]),
        ([1.0039, 0.0], "sigmoid", 2, 1 / 256, [1.0, 0.0]),
        ([0.9961, 0.0039, 0.0156], "softmax", 3, 1 / 256, [0.9961, 0.0039, 0.0156]),
        ([0.9, 0.9], "sigmoid", 2, 0.0, [0.9, 0.9]),
        ([0.25], "sigmoid", 2, 0.0, [0.75, 0.25]),
        ([0.0], "logits", 2, 0.0, [0.5, 0.5]),
        ([3e38], "logits", 2, 0.0, [0.0, 1.0]),
        ([3e38, -3e38], "logits", 2, 0.0, [1.0, 0.0]),
        ([0.0] * 1001, "softmax", 1001, 1 / 256, [0.0] * 1001),
    ],
)
def test_rounding_is_no_fault(
    values: list[float], activation: Activation, labels: int, step: float, scores: list[float]
) -> None:
    """Half a step of a quantised output over or below; it is cut to 0 to 1 then."""
    assert read(values, activation, labels, step) == (scores, "")


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=20))
def test_a_softmax_is_taken_and_its_input_is_not(values: list[float]) -> None:
    """Whatever the logits are; and a fault is named wherever nothing is handed on."""
    raised = np.exp(np.asarray(values) - max(values))
    assert read((raised / raised.sum()).tolist())[0] is not None
    plain, fault = read(values)
    assert (plain is None) == bool(fault)


@pytest.mark.parametrize("method", ["mean", "exponential"])
def test_one_frame_without_scores_does_not_reach_the_window(
    method: Literal["mean", "exponential"],
) -> None:
    """With exponential smoothing a single NaN stayed for ever."""
    engine = start(ModelConfig(path=str(CASES / "nan" / "m.tflite")))
    smoothing = SmoothingConfig(window=3, method=method)
    smoother = Smoother(engine.card.labels, smoothing)
    pipeline = Pipeline(engine.preprocess, engine.classifier, smoother)
    for color in (RED, RED, BLACK, RED):
        prediction, change, times = pipeline.process(solid(color))
        assert times.invoke_ns > 0
        if color == BLACK:
            assert prediction == InvalidScores("3 of 3 values not finite")
            assert change is None
        else:
            assert isinstance(prediction, Prediction)
            assert 0 <= prediction.score <= 1
            assert prediction.scores == pytest.approx(prediction.scores, nan_ok=False)


def test_raw_logits_are_refused_with_the_line_to_add(tmp_path: Path) -> None:
    """And with that line in a card, the model is as good as another."""
    path = case("logits", tmp_path)
    with pytest.raises(ModelError, match=r'not probabilities.*activation = "logits" in .output.'):
        start(ModelConfig(path=path))
    folder = case("logits", tmp_path / "card", '[output]\nactivation = "logits"')
    engine = start(ModelConfig(path=folder))
    scores = np.zeros(3, np.float32)
    assert engine.classify(solid((0, 0, 200)), scores)
    assert scores.argmax() == 0
    assert scores.sum() == pytest.approx(1)


def test_a_sigmoid_that_a_card_calls_softmax_is_named(tmp_path: Path) -> None:
    """The last layer is known, so the right line is."""
    from tests.conftest import MODELS

    shutil.copy(MODELS / "sigmoid.tflite", tmp_path / "m.tflite")
    (tmp_path / "labels.txt").write_text("red\nblue\n")
    engine = start(ModelConfig(path=str(tmp_path / "m.tflite")))
    assert engine.card.output.activation == "sigmoid"
    card = 'name = "x"\nfile = "m.tflite"\nlabels = ["blue"]\n[output]\nactivation = "softmax"\n'
    (tmp_path / "model.toml").write_text(card)
    with pytest.raises(ModelError, match=r'a sum of .* set activation = "sigmoid" in .output.'):
        start(ModelConfig(path=str(tmp_path)))


def test_a_softmax_after_a_softmax_is_refused(tmp_path: Path) -> None:
    """Its best score would be 0.57 of three labels: below what any label needs to come."""
    folder = case("px_float", tmp_path / "card", '[output]\nactivation = "logits"')
    with pytest.raises(ModelError, match=r"last layer is already a softmax.*expected softmax"):
        start(ModelConfig(path=folder))


def test_a_model_that_fails_in_the_dark_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It works by day; one that gives no number for any picture is refused."""
    start(ModelConfig(path=str(CASES / "nan" / "m.tflite")))
    assert "gives no finite scores for a black" in caplog.text
    always = case("nan", tmp_path, "[preprocessing]\nmean = 1000.0")
    with pytest.raises(ModelError, match=r"output is not finite.*3 of 3 values not finite.*every"):
        start(ModelConfig(path=always))


def pictures(folder: Path, *colors: tuple[int, int, int]) -> Path:
    """Return ``folder`` with a picture of each colour."""
    folder.mkdir()
    for number, color in enumerate(colors):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((32, 32, 3), color, np.uint8))
    return folder


def test_classify_reports_a_picture_without_scores_and_goes_on(tmp_path: Path) -> None:
    """JSON has no NaN."""
    dark, light = sorted(pictures(tmp_path / "p", BLACK, RED).iterdir())
    model = CASES / "nan" / "m.tflite"

    def refused(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    done = edge("classify", "--json", "--model", model, dark, light)
    first, second = (json.loads(text, parse_constant=refused) for text in done.stdout.splitlines())
    error = "the model gives no scores: 3 of 3 values not finite"
    assert first == {"path": str(dark), "error": error}
    assert second["label"] == "red"
    assert done.returncode == 1
    plain = edge("classify", "--model", model, dark, light)
    assert plain.stdout == f"{light}: red {second['score']:.3f}\n"
    assert f"{dark}: {error}" in plain.stderr


def config(folder: Path, port: int, more: str = "") -> str:
    """Return the config of a daemon that looks at a folder with the model `nan`."""
    return (
        f'device.id = "d"\ncamera.source = "{folder}"\ncamera.fps = 50\n'
        f'model.path = "{CASES / "nan" / "m.tflite"}"\nmqtt.port = {port}\n'
        f"publish.telemetry_interval_s = 0.3\npublish.state_interval_s = 0.1\n{more}"
    )


def test_the_daemon_goes_on_without_scores_and_counts(
    broker: Any, listen: Callable[[], Listener], daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """One event and one line, a growing count, and no state that is not as the schema says."""
    listener = listen()
    folder = pictures(tmp_path / "p", RED, BLACK, RED)
    running = daemon(config=config(folder, broker.port, 'smoothing.method = "exponential"'))
    listener.wait_for(
        lambda: any(t["invalid_scores_total"] > 20 for t in listener.payloads("telemetry"))
    )
    assert running.stop() == 0
    for payload in listener.bodies("state"):
        assert decode("state", payload)["label"] in (None, "red")
    events = [e for e in listener.payloads("event") if e["type"] == "scores_invalid"]
    assert [e["evidence"]["error"] for e in events] == ["3 of 3 values not finite"]
    assert running.log.read_text().count("has no scores") == 1


def test_a_daemon_that_sees_only_the_dark_is_online(
    broker: Any, listen: Callable[[], Listener], daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """Without a single prediction the broker knows that it is there, and gets no state."""
    listener = listen()
    running = daemon(config=config(pictures(tmp_path / "p", BLACK), broker.port))
    listener.wait_for(lambda: len(listener.payloads("telemetry")) > 2)
    assert "online" in listener.payloads("availability")
    assert not listener.bodies("state")
    assert listener.payloads("telemetry")[-1]["fps"] > 0
    assert running.stop() == 0
