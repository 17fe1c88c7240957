"""A baseline: figures by hand, what is made of many, and which files are none."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge import baseline
from edge.baseline import FIGURES, Baseline, Gauge
from edge.config import ModelConfig
from edge.errors import ModelError
from edge.frames import Frame
from edge.model import backbone, baselinefile
from edge.model import engine as engines
from edge.model.baselinefile import MAX_BYTES
from edge.model.survey import Survey, survey
from models import baseline as recipe
from models.folders import Sample
from tests import heads
from tests.conftest import edge, model_folder

NAMES = [figure.name for figure in FIGURES]
Pixels = NDArray[np.uint8]


def scene(seed: int, brightness: float = 1.0, side: int = 64) -> Pixels:
    """Return a reddish picture of patches, (side, side, 3) BGR."""
    random = np.random.default_rng(seed)
    patches = random.integers((0, 0, 60), (60, 80, 200), (8, 8, 3)).astype(np.uint8)
    picture = cv2.resize(patches, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(picture * brightness, 0, 255), np.uint8)


def frames(count: int = 40) -> list[Frame]:
    """Return frames of such scenes, some lighter than others."""
    return [Frame(n, 0, scene(n, 0.8 + n % 5 / 10), "bgr") for n in range(count)]


def measured(pixels: Pixels, color: str = "bgr") -> dict[str, float]:
    """Return a picture's figures by name."""
    out = np.full(6, np.nan, np.float32)
    Gauge(color).measure(pixels, out)
    return dict(zip(NAMES, map(float, out), strict=False))


def test_figures_of_a_picture_are_those_worked_out_by_hand() -> None:
    """Half of it black, half (B 40, G 80, R 200)."""
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, 16:] = (40, 80, 200)
    grey = round(0.114 * 40 + 0.587 * 80 + 0.299 * 200)
    figures = measured(picture)
    assert figures["brightness"] == pytest.approx(grey / 2 / 255, abs=1e-4)
    assert figures["contrast"] == pytest.approx(grey / 2 / 255, abs=1e-4)
    laplacian = math.sqrt(2 * 32 * grey**2 / 32**2)  # +grey and -grey beside the edge, else 0
    assert figures["sharpness"] == pytest.approx(laplacian / (grey / 2 + 2), abs=1e-4)
    assert figures["warmth"] == pytest.approx((100 - 20) / (160 + 30), abs=1e-3)
    assert figures["tint"] == pytest.approx((80 - 100 - 20) / (160 + 30), abs=1e-3)
    assert figures["chroma"] == pytest.approx((40 + 120) / 2 / 255, abs=1e-3)
    swapped = measured(np.ascontiguousarray(picture[:, :, ::-1]), "rgb")
    assert swapped == pytest.approx(figures)


def test_a_grey_picture_has_no_colour_and_a_black_one_no_figure_that_is_not_finite() -> None:
    """Whatever the layout."""
    grey = np.full((20, 30), 100, np.uint8)
    assert measured(grey, "gray") == pytest.approx(
        {"brightness": 100 / 255, "contrast": 0, "sharpness": 0}
        | {"warmth": 0, "tint": 0, "chroma": 0},
        abs=1e-6,
    )
    assert set(measured(np.zeros((20, 30, 3), np.uint8)).values()) == {0.0}


def test_a_large_picture_is_measured_on_a_small_copy() -> None:
    """Its figures are those of a picture of 256 pixels."""
    large, small = scene(1, side=1024), scene(1, side=256)
    assert measured(large) == pytest.approx(measured(small), abs=0.03)


def test_a_blurred_picture_is_less_sharp_and_a_dim_one_as_sharp() -> None:
    """Sharpness does not depend on the contrast."""
    patches = np.random.default_rng(1).integers(0, 256, (14, 14, 3), np.uint8)
    picture = cv2.resize(patches, (224, 224), interpolation=cv2.INTER_NEAREST)
    sharp = measured(np.asarray(picture, np.uint8))["sharpness"]
    dim = measured(np.asarray(picture // 3, np.uint8))
    assert dim["sharpness"] == pytest.approx(sharp, rel=0.15)
    blurred = np.asarray(cv2.GaussianBlur(picture, (0, 0), 2), np.uint8)
    assert measured(blurred)["sharpness"] < 0.3 * sharp


def test_figures_of_scores_are_those_worked_out_by_hand() -> None:
    """Sure, unsure, and one label alone."""

    def of(*scores: float) -> tuple[float, float]:
        return baseline.score_figures(np.array(scores, np.float32))

    assert of(1, 0, 0) == pytest.approx((1, 0), abs=1e-4)
    assert of(0.25, 0.25, 0.25, 0.25) == pytest.approx((0, 1), abs=1e-4)
    entropy = -(0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1)) / math.log(3)
    assert of(0.2, 0.7, 0.1) == pytest.approx((0.5, entropy), abs=1e-4)
    assert of(1) == (1, 0)


def test_a_baseline_has_ten_bins_of_as_many_pictures_in_a_range_that_is_widened() -> None:
    """Of a thousand values from 0 to 0.999, the outermost five at each end are beyond it."""
    values = np.repeat(np.linspace(0, 0.999, 1000, dtype=F4)[:, np.newaxis], 8, axis=1)
    made = baseline.build(values)
    assert made.total == 1000
    assert made.mean is None
    brightness, contrast = made.edges[0], made.edges[1]
    assert brightness[0] == pytest.approx(0.005 - 0.04, abs=1e-3)
    assert brightness[-1] == pytest.approx(0.994 + 0.04, abs=1e-3)
    assert brightness[1:-1] == pytest.approx(np.linspace(0.104, 0.895, 9), abs=2e-3)
    assert contrast[0] == pytest.approx(0.005 * 0.75, abs=1e-3)
    assert contrast[-1] == pytest.approx(0.994 * 1.25, abs=1e-3)
    assert made.shares[0, [0, -1]].tolist() == [0, 0]
    assert made.shares[0, 2:-2] == pytest.approx(np.full(8, 0.099), abs=2e-3)
    assert made.edges[6, 0] == pytest.approx(0.05 - 0.05, abs=1e-3)
    assert made.shares.sum(axis=1) == pytest.approx(np.ones(8))


def test_figures_that_never_change_make_a_baseline() -> None:
    """A camera that looks at a wall; a figure at an end of its range is inside."""
    made = baseline.build(np.full((20, 8), 0.5, np.float32))
    assert made.edges[0, [0, -1]] == pytest.approx([0.46, 0.54])
    assert made.shares[:, [0, -1]].max() == 0
    assert baseline.build(np.zeros((20, 8), np.float32)).shares[:, [0, -1]].max() == 0


def test_the_distance_of_features_is_in_standard_deviations() -> None:
    """Two features, one ten times as wide as the other, and one that never changes."""
    random = np.random.default_rng(1)
    features = random.normal((1, 5, 3), (1, 10, 0), (500, 3)).astype(np.float32)
    made = baseline.build(random.random((500, 8), np.float32), features)
    assert made.mean is not None
    assert made.std is not None
    assert made.edges.shape == (9, 11)
    far = made.mean + 4 * made.std
    assert baseline.distances(far, made.mean, made.std) == pytest.approx(4, abs=1e-3)
    assert made.edges[8, -1] < 4
    constant = made.mean + np.array([0, 0, 1], np.float32)
    assert baseline.distances(constant, made.mean, made.std) > 4


@pytest.mark.parametrize("shape", [(19, 8), (20, 7), (20,), (0, 8)])
def test_too_few_figures_make_none(shape: tuple[int, ...]) -> None:
    """Or rows of other figures."""
    with pytest.raises(ValueError, match="no baseline of"):
        baseline.build(np.zeros(shape, np.float32))


@pytest.mark.parametrize("features", [0, 8])
def test_a_file_gives_back_what_was_written(features: int, tmp_path: Path) -> None:
    """With features and without."""
    random = np.random.default_rng(1)
    rows = random.random((50, features), np.float32) if features else None
    made = baseline.build(random.random((50, 8), np.float32), rows)
    table = baselinefile.write(tmp_path, made)
    read = baselinefile.read(tmp_path / table.file, table.sha256, features)
    assert read.total == 50
    assert read.edges.tolist() == made.edges.tolist()
    assert read.shares.tolist() == made.shares.tolist()
    assert (read.mean is None) == (features == 0)


F4 = np.float32
GOOD = baseline.build(np.random.default_rng(1).random((50, 8), F4))


def arrays(**changes: Any) -> dict[str, Any]:
    """Return the arrays of a good baseline, some replaced; None: left out."""
    made = {"edges": GOOD.edges, "shares": GOOD.shares, "total": np.array([50], F4)} | changes
    return {name: array for name, array in made.items() if array is not None}


def changed(array: NDArray[np.float32], value: float) -> NDArray[np.float32]:
    """Return a copy with another value in the second row."""
    copy = array.copy()
    copy[1, 3] = value
    return copy


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edges": None}, "it has no array `edges`"),
        ({"total": None}, "it has no array `total`"),
        ({"more": np.zeros(3, F4)}, "an unknown array: expected edges, shares, .*, got more"),
        ({"mean": np.zeros(8, F4)}, "one of `mean` and `std`, not both"),
        ({"edges": GOOD.edges[:7]}, r"`edges` has the shape \(7, 11\): expected \(8, 11\)"),
        ({"edges": GOOD.edges[:, :5]}, r"`edges` has the shape \(8, 5\)"),
        ({"shares": GOOD.shares[:, :11]}, r"`shares` has the shape \(8, 11\)"),
        ({"total": np.array([50, 50], F4)}, r"`total` has the shape \(2,\)"),
        ({"edges": changed(GOOD.edges, np.nan)}, "`edges` are numbers up to 1e"),
        ({"edges": changed(GOOD.edges, np.inf)}, "`edges` are numbers up to 1e"),
        ({"edges": changed(GOOD.edges, 1e30)}, "`edges` are numbers up to 1e"),
        ({"edges": changed(GOOD.edges, 5)}, "`edges` do not ascend"),
        ({"shares": changed(GOOD.shares, np.nan)}, "`shares` are numbers"),
        ({"shares": changed(GOOD.shares, -0.1)}, "`shares` are no shares"),
        ({"shares": changed(GOOD.shares, 0.9)}, "`shares` are no shares"),
        ({"total": np.array([3], F4)}, "of 3 pictures: expected 20"),
        ({"total": np.array([1e9], F4)}, r"of 1e\+09 pictures"),
        ({"total": np.array([20.5], F4)}, r"of 20.5 pictures"),
        ({"edges": GOOD.edges.astype(float)}, "wrong type of `edges`"),
        ({"edges": np.array([1, "x", None], object)}, "wrong type of `edges`"),
        (
            {"mean": np.zeros(8, F4), "std": np.ones(8, F4)},
            r"`edges` has the shape \(8, 11\): expected \(9, 11\)",
        ),
    ],
)
def test_arrays_that_are_no_baseline_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Wrong names, shapes, types and values: one line that begins with the file."""
    file = tmp_path / "b.npz"
    np.savez(file, **arrays(**changes))
    with pytest.raises(ModelError, match=message) as caught:
        baselinefile.read(file, heads.checksum(file), 8)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def with_features(total: int, **changes: Any) -> dict[str, Any]:
    """Return the arrays of a good baseline with features."""
    made = baseline.build(np.random.default_rng(1).random((50, 8), F4), np.ones((50, total), F4))
    return arrays(edges=made.edges, shares=made.shares, mean=made.mean, std=made.std) | changes


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (with_features(9), "does not fit the network's features: expected 8, got 9"),
        (with_features(8, std=np.zeros(8, F4)), "`std` must be 1e-06 or more"),
        (with_features(8, std=np.ones(7, F4)), r"`std` has the shape \(7,\): expected \(8,\)"),
        (with_features(8, mean=np.full(8, np.inf, F4)), "`mean` are numbers"),
    ],
)
def test_features_must_be_those_of_the_network(
    made: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Their number, and values that can be computed with."""
    np.savez(tmp_path / "b.npz", **made)
    with pytest.raises(ModelError, match=message):
        baselinefile.read(tmp_path / "b.npz", heads.checksum(tmp_path / "b.npz"), 8)


def test_a_changed_a_large_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    """By checksum, by size before it is read, and any bytes by what they are not."""
    table = baselinefile.write(tmp_path, GOOD)
    file = tmp_path / table.file
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(ModelError, match=r"not the one that its card describes.*expected sha256"):
        baselinefile.read(file, table.sha256, 0)
    with pytest.raises(ModelError, match=r"not an \.npz"):
        baselinefile.read(file, heads.checksum(file), 0)
    with file.open("wb") as sparse:
        sparse.truncate(30 << 30)
    with pytest.raises(ModelError, match=f"is too large: expected at most {MAX_BYTES}"):
        baselinefile.read(file, table.sha256, 0)
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        baselinefile.read(tmp_path / "none.npz", table.sha256, 0)


def add(folder: Path, made: Baseline, **changes: str) -> Path:
    """Give the model in ``folder`` a baseline; ``changes`` of the card's table."""
    table = baselinefile.write(folder, made)
    lines = {"file": table.file, "sha256": table.sha256} | changes
    with (folder / "model.toml").open("a") as card:
        card.write("[baseline]\n" + "".join(f'{k} = "{v}"\n' for k, v in lines.items()))
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "00"}, "not the one that its card describes"),
        ({"file": "none.npz"}, "the baseline cannot be read: No such file"),
        ({"file": "../"}, "is a folder: expected a regular file"),
        ({"file": ""}, "baseline.file"),
        ({"more": "x"}, "baseline.more: unknown key"),
    ],
)
def test_a_card_whose_baseline_is_not_there_is_refused_in_one_line(
    change: dict[str, str], message: str, tmp_path: Path
) -> None:
    """By `edge check`, with status 78, as by a start."""
    folder = add(model_folder(tmp_path / "m"), GOOD, **change)
    (tmp_path / "edge.toml").write_text(f'[model]\npath = "{folder}"\n')
    done = edge("check", "--config", tmp_path / "edge.toml")
    assert done.returncode == 78
    assert message in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_backbone_has_no_baseline(tmp_path: Path) -> None:
    """It gives no scores."""
    folder = add(heads.backbone(tmp_path / "features"), GOOD)
    with pytest.raises(ModelError, match=r"\[baseline\] of a model without scores"):
        engines.prepare(ModelConfig(path=str(folder)), "", "features")


@pytest.mark.parametrize("name", ["int8", "uint8io", "float", "sigmoid"])
def test_the_input_is_intact_after_the_network_has_run(name: str, tmp_path: Path) -> None:
    """For every type of tensor, the figures are those of the picture in the model's size."""
    engine = engines.start(ModelConfig(path=str(model_folder(tmp_path / "m", name))))
    scores, row = np.empty(engine.classifier.labels_total, F4), np.empty(8, F4)
    measure = Survey(engine)
    shape = engine.classifier.input.shape[1:3]
    for seed in range(5):
        pixels = scene(seed, 1 - seed / 8)
        assert engine.classify(Frame(0, 0, pixels, "bgr"), scores)
        measure.figures(scores, row)
        small = np.asarray(cv2.resize(pixels, shape[::-1]), np.uint8)
        assert dict(zip(NAMES, map(float, row[:6]), strict=False)) == pytest.approx(
            measured(small), abs=0.01
        )
        assert tuple(row[6:]) == pytest.approx(baseline.score_figures(scores))
        assert measure.features() is None


def test_a_bundle_with_a_head_has_the_features_in_its_baseline(tmp_path: Path) -> None:
    """Those of a frame are the backbone's own, and of a taught kind of picture near the mean."""
    heads.backbone(tmp_path / "features")
    folder = heads.bundle(tmp_path / "taught")
    config = ModelConfig(path=str(folder))
    made = survey(engines.start(config), frames())
    engine = engines.start(ModelConfig(path=str(add(folder, made))))
    assert engine.baseline is not None
    assert engine.baseline.mean is not None
    assert engine.baseline.std is not None
    scores = np.empty(3, F4)
    far = {}
    for name, color in heads.COLORS.items():
        engine.classify(Frame(0, 0, np.full((64, 64, 3), color, np.uint8), "bgr"), scores)
        features = Survey(engine).features()
        assert features is not None
        assert features[:3].argmax() == list(heads.COLORS).index(name)
        mean, std = engine.baseline.mean, engine.baseline.std
        far[name] = float(baseline.distances(features, mean, std))
    assert min(far, key=far.__getitem__) == "red"
    assert far["blue"] > engine.baseline.edges[8, -1]


def test_a_baseline_of_a_backbone_and_scores_is_that_of_the_bundle(tmp_path: Path) -> None:
    """What teaches a head needs no bundle first."""
    heads.backbone(tmp_path / "features")
    engine = engines.start(ModelConfig(path=str(heads.bundle(tmp_path / "taught"))))
    network = backbone.start(ModelConfig(path=str(tmp_path / "features")))
    measure = Survey(network.engine)
    features, pictures = np.empty((40, 8), F4), np.empty((40, 6), F4)
    scores = np.empty((40, 3), F4)
    for n, frame in enumerate(frames(40)):
        features[n] = network.features(frame)
        measure.picture(pictures[n])
        assert engine.classify(frame, scores[n])
    made = baseline.build(baseline.joined(pictures, scores), features)
    whole = survey(engine, frames(40))
    assert made.edges == pytest.approx(whole.edges, abs=1e-5)
    assert made.mean == pytest.approx(whole.mean, abs=1e-5)


def test_the_recipe_makes_a_baseline_of_its_validation_pictures(tmp_path: Path) -> None:
    """Unreadable ones are left out; of too few there is none."""
    folder = model_folder(tmp_path / "m")
    samples = []
    for number, frame in enumerate(frames(30)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), frame.pixels)
        samples.append(Sample(tmp_path / f"{number}.png", 0))
    samples[0].path.write_bytes(b"no picture")
    table = recipe.write(folder, samples)
    assert table is not None
    assert baselinefile.read(folder / table.file, table.sha256, 0).total == 29
    assert recipe.write(folder, samples[:19]) is None


def test_measuring_a_picture_allocates_nothing_of_its_size() -> None:
    """After the first of its size; the largest array made for one has 6 kB."""
    gauge, out, picture = Gauge("rgb"), np.empty(6, F4), scene(1, side=224)
    gauge.measure(picture, out)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        gauge.measure(picture, out)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - before < 30_000
