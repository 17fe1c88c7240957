"""Models as people have them: the file completes its card, or contradicts it."""

from __future__ import annotations

import resource
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge.config import ModelConfig
from edge.errors import ModelError
from edge.frames import Frame
from edge.model import metadata
from edge.model.card import Affine, Preprocessing, Stated, TensorSpec
from edge.model.engine import Engine, describe, start
from edge.model.lookup import lookup_table
from edge.model.normalisation import NEAR, contradiction, normalisation
from tests.conftest import MODELS, ROOT, edge

CASES = ROOT / "tests" / "cases" / "models"
COLORS = {"red": (0, 0, 200), "green": (0, 200, 0), "blue": (200, 0, 0)}
CARD = 'name = "x"\nfile = "m.tflite"\nlabels = ["red", "green", "blue"]\n'
LABELS = "red\ngreen\nblue\n"


def started(path: Path | str) -> Engine:
    """Return a model, started."""
    return start(ModelConfig(path=str(path)))


def names_colors(engine: Engine) -> bool:
    """Return whether each colour gets its own label, with a score that leaves no doubt."""
    scores = np.zeros(3, np.float32)
    for label, color in COLORS.items():
        frame = Frame(0, 0, np.full((48, 64, 3), color, np.uint8), "bgr")
        assert engine.classify(frame, scores)
        best = int(scores.argmax())
        if engine.card.labels[best] != label or scores[best] < 0.9:
            return False
    return True


@pytest.mark.parametrize(
    ("name", "mean", "std", "source"),
    [
        ("ei_int8", 0.0, 255.0, "quantisation"),
        ("px_float", 0.0, 1.0, "first layers"),
        ("meta_px", 0.0, 1.0, "metadata"),
    ],
)
def test_the_file_gives_mean_and_std(name: str, mean: float, std: float, source: str) -> None:
    """0 to 1 quantised, pixels into a layer that scales them, mean and std in the metadata."""
    engine = started(CASES / name / "m.tflite")
    how = engine.card.preprocessing
    assert (how.mean, how.std, engine.input_from) == (mean, std, source)
    assert describe(engine).input_from == source
    assert names_colors(engine)


def test_the_file_fills_in_what_a_card_leaves_out(tmp_path: Path) -> None:
    """A card with nothing but labels is no reason to feed wrong values."""
    shutil.copy(CASES / "ei_int8" / "m.tflite", tmp_path)
    (tmp_path / "model.toml").write_text(CARD + '[preprocessing]\nresize = "crop"\n')
    engine = started(tmp_path)
    assert engine.input_from == "quantisation"
    assert engine.card.preprocessing.resize == "crop"
    assert names_colors(engine)
    (tmp_path / "model.toml").write_text(CARD + "[preprocessing]\nmean = 0\nstd = 255\n")
    assert started(tmp_path).input_from == "card"


def test_check_prints_where_mean_and_std_come_from(tmp_path: Path) -> None:
    """The last line of `edge check`."""
    for name, line in (
        ("ei_int8", "input    32x32 rgb, mean 0.0, std 255.0: from the file's quantisation"),
        ("nan", "input    32x32 rgb, mean 127.5, std 127.5: assumed, because neither card nor"),
    ):
        (tmp_path / "c.toml").write_text(f'model.path = "{CASES / name / "m.tflite"}"\n')
        done = edge("check", "--config", tmp_path / "c.toml")
        assert done.returncode == 0
        assert line in done.stdout


@pytest.mark.parametrize(
    ("name", "card", "warning"),
    [
        (
            "ei_int8",
            "mean = 127.5\nstd = 127.5",
            "maps 128 of 256 pixel values onto one value of the input tensor; the file's"
            " quantisation says real input 0 to 1: mean = 0, std = 255",
        ),
        (
            "px_float",
            "mean = 127.5\nstd = 127.5",
            "gives real input -1 to 1; the file's first layers scale input of 0 to 255:"
            " mean = 0, std = 1",
        ),
        ("ei_int8", "mean = 0\nstd = 255", ""),
        ("px_float", "mean = 0\nstd = 1", ""),
        ("nan", "mean = 0\nstd = 255", ""),
    ],
)
def test_a_card_that_contradicts_the_file_is_a_warning(
    name: str, card: str, warning: str, tmp_path: Path
) -> None:
    """Printed by `edge check` with figures and a hint; not where it fits, or nothing is known."""
    shutil.copy(CASES / name / "m.tflite", tmp_path)
    (tmp_path / "model.toml").write_text(f"{CARD}[preprocessing]\n{card}\n")
    (tmp_path / "c.toml").write_text(f'model.path = "{tmp_path}"\n')
    done = edge("check", "--config", tmp_path / "c.toml")
    assert done.returncode == 0
    assert warning in done.stderr
    assert ("[preprocessing]: mean" in done.stderr) == bool(warning)


def test_the_shipped_models_card_is_no_contradiction(caplog: pytest.LogCaptureFixture) -> None:
    """Nor are those of the test models; no warning without a reason."""
    started("")
    assert not caplog.text


def test_metadata_that_the_quantisation_contradicts_are_not_used() -> None:
    """Many integer models say mean 0, std 1, and mean unchanged bytes."""
    said = Stated((0.0,), (1.0,))
    usual = spec(np.uint8, 1 / 127.5, 127)
    assert normalisation(usual, said, None) == (127.5, 127.5, "quantisation")
    assert normalisation(spec(np.uint8, 1.0, 0), said, None) == (0.0, 1.0, "metadata")
    assert normalisation(spec(np.uint8, 0.1, 0), said, None) == (0.0, 1.0, "metadata")
    assert normalisation(usual, Stated((127.0,), (128.0,)), None) == (127.0, 128.0, "metadata")


def test_free_height_and_width_need_a_size(tmp_path: Path) -> None:
    """Without one such a model ran on one pixel; `input` in its card gives it."""
    with pytest.raises(ModelError, match=r"size of its input open.*\(1, -1, -1, 3\).*`input = "):
        started(CASES / "dynhw" / "m.tflite")
    shutil.copy(CASES / "dynhw" / "m.tflite", tmp_path)
    (tmp_path / "model.toml").write_text(CARD + "[preprocessing]\ninput = [48, 64]\n")
    engine = started(tmp_path)
    assert engine.classifier.input.shape == (1, 48, 64, 3)
    assert engine.classifier.facts.xnnpack
    assert names_colors(engine)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("dynhw", "[48]", "preprocessing.input"),
        ("dynhw", "[0, 32]", "preprocessing.input"),
        ("dynhw", "[32, 20000]", "preprocessing.input.*<= 2048, got 20000"),
        ("nan", "[64, 64]", r"`input` in .preprocessing. does not fit.*\[32, 32\], got \[64, 64\]"),
        ("nan", "[32, 32]", ""),
    ],
)
def test_an_impossible_size_is_refused(name: str, size: str, message: str, tmp_path: Path) -> None:
    """Too few numbers, zero, too large, or not the file's own."""
    shutil.copy(CASES / name / "m.tflite", tmp_path)
    (tmp_path / "model.toml").write_text(f"{CARD}[preprocessing]\ninput = {size}\n")
    if message:
        with pytest.raises(ModelError, match=message):
            started(tmp_path)
    else:
        assert started(tmp_path).classifier.input.shape == (1, 32, 32, 3)


@pytest.mark.parametrize("name", ["float", "int8"])
@pytest.mark.parametrize("shape", [(1, 20000, 20000, 3), (1, 1, 1, 1_200_000_000)])
def test_an_input_too_large_for_memory_is_refused_before_it_is_allocated(
    name: str, shape: tuple[int, int, int, int], tmp_path: Path
) -> None:
    """A file of 3 kB would allocate 8.6 GB."""
    content = (MODELS / f"{name}.tflite").read_bytes()
    usual = struct.pack("<4i", 1, 32, 32, 3)
    assert content.count(usual) == 1
    (tmp_path / "m.tflite").write_bytes(content.replace(usual, struct.pack("<4i", *shape)))
    (tmp_path / "labels.txt").write_text(LABELS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match="input is too large: expected at most 2048 pixels a side"):
        started(tmp_path / "m.tflite")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_int16_activations_run_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """XNNPACK takes no such model: a warning, not an error."""
    engine = started(CASES / "int16" / "m.tflite")
    facts = engine.classifier.facts
    assert (facts.kind, facts.xnnpack) == ("int16", False)
    assert "int16 activations: XNNPACK has no kernels" in caplog.text
    assert names_colors(engine)


def test_one_label_too_few_is_often_the_background(tmp_path: Path) -> None:
    """1,001 values for ImageNet's 1,000 labels."""
    shutil.copy(CASES / "big" / "m.tflite", tmp_path)
    (tmp_path / "labels.txt").write_text("".join(f"class {n}\n" for n in range(1000)))
    with pytest.raises(
        ModelError, match=r"expected 1001 labels, got 1000.*`background`, the first"
    ):
        started(tmp_path / "m.tflite")


def test_a_gray_model_needs_no_card_to_be_gray() -> None:
    """One channel means gray."""
    from edge.model import attest
    from edge.model.locate import find
    from edge.model.runtime import Classifier

    found = find(str(CASES / "nan" / "m.tflite"))
    classifier = Classifier(found.path, 3, None, threads=1)
    classifier.input = TensorSpec((1, 32, 32, 1), np.dtype(np.float32), 0.0, 0)
    assert attest.complete(found, classifier)[0].preprocessing.color == "gray"


def spec(kind: type, scale: float, zero_point: int) -> TensorSpec:
    """Return an input tensor."""
    return TensorSpec((1, 8, 8, 3), np.dtype(kind), scale, zero_point)


@pytest.mark.parametrize(
    ("tensor", "mean", "std"),
    [
        (spec(np.int8, 1 / 255, -128), 0.0, 255.0),
        (spec(np.uint8, 1 / 255, 0), 0.0, 255.0),
        (spec(np.int8, 1.0, -128), 0.0, 1.0),
        (spec(np.uint8, 1.0, 0), 0.0, 1.0),
        (spec(np.int8, 1 / 127.5, -1), 127.5, 127.5),
        (spec(np.uint8, 1 / 128, 128), 127.5, 127.5),
        (spec(np.uint8, 0.00368, 0), 0.0, 255.0),
        (spec(np.int8, 0.018658, -14), (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        (spec(np.int16, 255 / 32767, 0), 0.0, 1.0),
    ],
)
def test_a_quantisation_says_the_range(
    tensor: TensorSpec, mean: float | tuple[float, ...], std: float | tuple[float, ...]
) -> None:
    """The usual four, also where calibration did not see every value."""
    known = normalisation(tensor, Stated(), None)
    assert (known.mean, known.std, known.source) == (mean, std, "quantisation")
    assert not contradiction(Preprocessing(mean=mean, std=std), tensor, None)


@pytest.mark.parametrize(
    "tensor",
    [
        spec(np.int8, 0.1, 0),
        spec(np.int16, 1 / 32767, 0),
        spec(np.float32, 0.0, 0),
        spec(np.uint8, float("inf"), 0),
        spec(np.uint8, float("nan"), 0),
        spec(np.uint8, 0.0, 0),
    ],
)
def test_an_unusual_range_is_ignored(tensor: TensorSpec) -> None:
    """Then -1 to 1 is assumed, and reported as assumed."""
    assert normalisation(tensor, Stated(), None) == (127.5, 127.5, "assumed")


@pytest.mark.parametrize(
    ("factor", "offset", "known"),
    [
        (1 / 127.5, -1.0, (0.0, 1.0, "first layers")),
        (1 / 255, 0.0, (0.0, 1.0, "first layers")),
        (1.0, -117.0, (0.0, 1.0, "first layers")),
        (2.0, -1.0, (0.0, 255.0, "first layers")),
        (0.5, 0.5, (127.5, 127.5, "first layers")),
        (4.4, -2.1, (0.0, 255.0, "first layers")),
        (1.3, 7.0, (127.5, 127.5, "assumed")),
        (1e-6, 0.0, (127.5, 127.5, "assumed")),
    ],
)
def test_first_layers_that_scale_give_mean_and_std(
    factor: float, offset: float, known: tuple[float, float, str]
) -> None:
    """Keras's Rescaling inside the model; layers that do anything else give nothing."""
    first = Affine(np.array([factor]), np.array([offset]))
    assert normalisation(spec(np.float32, 0.0, 0), Stated(), first) == known


@given(st.floats(1e-6, 2), st.integers(-128, 127))
@example(1.265625, -98)
def test_a_file_never_contradicts_itself(scale: float, zero_point: int) -> None:
    """Whatever the quantisation: mean and std from it do not saturate."""
    tensor = spec(np.int8, scale, zero_point)
    known = normalisation(tensor, Stated(), None)
    how = Preprocessing(mean=known.mean, std=known.std)
    assert lookup_table(how, tensor) is None or known.source in ("quantisation", "assumed")
    if known.source == "quantisation":
        assert contradiction(how, tensor, None) == ""
        table = lookup_table(how, tensor)  # the widest range that is still near shares its values
        assert table is None or len(np.unique(table)) >= int(256 / (1 + 2 * NEAR))


def test_embedded_metadata_are_read_back() -> None:
    """The shipped model's were written with MediaPipe's schema."""
    with (ROOT / "models" / "catdog" / "model.tflite").open("rb") as file:
        stated = metadata.stated(file.fileno())
    assert stated == Stated((127.5,), (127.5,), None, "labels.txt")
    with (MODELS / "int8.tflite").open("rb") as file:
        assert metadata.stated(file.fileno()) == Stated()


def test_a_model_of_gigabytes_is_refused_by_its_size(tmp_path: Path) -> None:
    """A sparse file costs its author nothing; it is not read."""
    with (tmp_path / "m.tflite").open("wb") as file:
        file.truncate(30 * 10**9)
    (tmp_path / "labels.txt").write_text(LABELS)
    with pytest.raises(ModelError, match=r"too large: expected at most .*, got 30000000000"):
        started(tmp_path / "m.tflite")
