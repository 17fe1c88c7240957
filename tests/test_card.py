"""A model is found, and is the one that its card describes."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from edge.config import ModelConfig
from edge.errors import ModelError
from edge.model import locate
from edge.model.engine import start
from tests.conftest import MODELS, model_folder


def test_a_model_is_given_as_folder_card_or_file(rgb: Path) -> None:
    """All three find the same."""
    found = [locate.find(str(place)) for place in (rgb, rgb / "model.toml", rgb / "uint8io.tflite")]
    assert found[0] == found[1] == found[2]
    assert found[0][0].labels == ("red", "green", "blue")


def test_a_file_without_card_takes_labels_beside_or_inside_it(tmp_path: Path) -> None:
    """labels.txt first, then the text file that TFLite metadata appends."""
    model = Path(shutil.copy(MODELS / "int8.tflite", tmp_path))
    with pytest.raises(ModelError, match=r"no labels.*labels\.txt"):
        locate.find(str(model))
    with zipfile.ZipFile(model, "a") as archive:
        archive.writestr("labels.txt", "r\ng\nb\n")
    assert locate.find(str(model))[0].labels == ("r", "g", "b")
    (tmp_path / "labels.txt").write_text("rot\ngrün\n\nblau\n", encoding="utf-8")
    assert locate.find(str(model))[0].labels == ("rot", "grün", "blau")
    assert start(ModelConfig(path=str(model))).classifier.labels_total == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": '"00"'}, "not the one its card describes: expected sha256 00"),
        ({"labels": '["red", "red", "blue"]'}, "labels must be distinct"),
        ({"labels": '["red", "green"]'}, "labels do not fit.*expected 3 labels, got 2"),
        ({"labels": "3"}, "labels: wrong value: expected array, got 3"),
        ({"file": '"other.tflite"'}, "model file is missing"),
        ({"sise": "224"}, "sise: unknown key"),
        ({"preprocessing": '{color = "gray"}'}, "does not take one gray picture"),
        ({"preprocessing": "{std = 0.0}"}, "`std`.*above 0"),
        ({"preprocessing": "{mean = nan}"}, "`mean`.*expected one number, or 3, got nan"),
        ({"preprocessing": "{mean = [1, 2]}"}, r"`mean`.*one number, or 3, got \(1.0, 2.0\)"),
        ({"preprocessing": "{mean = [1, 2, 3], std = [1, 2]}"}, "`std`.*one number, or 3"),
        ({"preprocessing": "{pad = 300}"}, "pad: wrong value: expected int <= 255, got 300"),
        ({"golden": '{picture = "no.png", scores = [1.0]}'}, "expected 3, one per label, got 1"),
        ({"golden": '{picture = "no.png", scores = [1.0, 0.0, 0.0]}'}, "golden picture"),
        (
            {"golden": '{picture = "a\\u0000b", scores = [1.0, 0.0, 0.0]}'},
            r"golden.picture: NUL character",
        ),
        ({"file": '"a\\u0000b"'}, r"file: NUL character"),
        (
            {"golden": '{picture = "no.png", scores = [1.0, 0.0, 0.0], tolerance = inf}'},
            "golden.tolerance: wrong value",
        ),
        (
            {"golden": '{picture = "no.png", scores = [1.0, 0.0, 0.0], tolerance = nan}'},
            "golden.tolerance",
        ),
        (
            {"golden": '{picture = "no.png", scores = [nan, 0.0, 0.0]}'},
            "golden.scores: wrong score: expected numbers from 0 to 1",
        ),
        ({"background": '"green"'}, 'background: wrong value: expected array, got "green"'),
        (
            {"background": '["gren"]'},
            "model.toml: background: a background label that is no label:"
            " expected one of `red`, `green`, `blue`, got `gren`; did you mean `green`",
        ),
        ({"background": '["green", "green"]'}, "background: a background label twice: got `green`"),
        (
            {"background": '["blue", "red", "green"]'},
            "background: every label is a background label: expected at least one that is none",
        ),
        ({"background": '["\\u001b[2J"]'}, r"no label.*got `\\x1b\[2J`$"),
        ({"smoothing": "{enter = 0.4, exit = 0.6}"}, "smoothing.exit: `exit` is above `enter`"),
        ({"smoothing": "{enter = 0.7}"}, "smoothing: key `exit` is missing"),
        ({"smoothing": "{enter = 1.1, exit = 0.5}"}, "smoothing.enter: wrong value: .*<= 1.0"),
        ({"smoothing": "{enter = 0.7, exit = -0.1}"}, "smoothing.exit: wrong value: .*>= 0.0"),
        ({"smoothing": "{enter = nan, exit = 0.1}"}, "smoothing.enter: wrong value: .*got nan"),
        ({"smoothing": "{enter = 0.7, exit = 0.5, window = 3}"}, "smoothing.window: unknown key"),
        ({"labels": '[" red", "green", "blue"]'}, "label 0 begins or ends with white space"),
        ({"preprocessing": "{mean = 1e308, std = 5e-324}"}, "give no usable input"),
    ],
)
def test_a_wrong_card_is_one_line(changes: dict[str, str], message: str, tmp_path: Path) -> None:
    """Each fault says what, where and what was expected."""
    folder = model_folder(tmp_path / "m", **changes)
    with pytest.raises(ModelError, match=message) as caught:
        start(ModelConfig(path=str(folder)))
    assert str(folder) in str(caught.value)
    assert caught.value.exit_status == 78


def test_one_mean_in_a_list_is_one_mean(tmp_path: Path) -> None:
    """`mean = [127.5]` is `mean = 127.5`."""
    card_text = {"preprocessing": "{mean = [127.5], std = [127.5]}"}
    folder = model_folder(tmp_path / "m", "float", **card_text)
    assert start(ModelConfig(path=str(folder))).preprocess


def test_names_in_a_model_that_are_not_text_are_refused(rgb: Path) -> None:
    """A byte broken in a tensor's name: TFLite loads it, its list of tensors cannot be read."""
    path = rgb / "uint8io.tflite"
    content = path.read_bytes()
    name = b"StatefulPartitionedCall"
    assert name in content
    path.write_bytes(content.replace(name, b"\xff" + name[1:]))
    with pytest.raises(ModelError, match=r"cannot be loaded.*utf-8"):
        start(ModelConfig(path=str(rgb)))


@pytest.mark.parametrize("keep", [0, 3, 100, 1500])
def test_a_truncated_model_is_refused(keep: int, tmp_path: Path) -> None:
    """With a checksum in the card, before TFLite sees it; without one, by TFLite."""
    content = (MODELS / "int8.tflite").read_bytes()[:keep]
    model = tmp_path / "m.tflite"
    model.write_bytes(content)
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    with pytest.raises(ModelError, match=r"not a TFLite model|cannot be loaded"):
        start(ModelConfig(path=str(model)))


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    """A picture is not a model."""
    model = tmp_path / "m.tflite"
    model.write_bytes(b"\x89PNG\r\n\x1a\n" * 100)
    (tmp_path / "labels.txt").write_text("a\nb\n")
    with pytest.raises(ModelError, match="expected the identifier TFL3"):
        start(ModelConfig(path=str(model)))


def test_repeated_labels_are_refused_wherever_they_come_from(tmp_path: Path) -> None:
    """A label list with `crane` twice would merge two scores into one."""
    model = Path(shutil.copy(MODELS / "int8.tflite", tmp_path))
    (tmp_path / "labels.txt").write_text("crane\nred\ncrane\n")
    with pytest.raises(ModelError, match="labels must be distinct"):
        locate.find(str(model))


@pytest.mark.parametrize("model", ["~nobody-here/m", "x" * 300])
def test_an_impossible_path_is_one_line(model: str) -> None:
    """No traceback for an unknown user or a name too long."""
    with pytest.raises(ModelError, match=r"cannot be read|not found"):
        locate.find(model)
