"""The shipped feature models, and the steps that make and measure them, reduced."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.config import ModelConfig
from edge.errors import ConfigError
from edge.model import backbone, locate
from edge.model.card import Preprocessing
from edge.model.golden import read_picture
from edge.model.lookup import lookup_table
from models import data, dataset, shots
from models.folders import Sample
from tests import lite_reference
from tests.conftest import ROOT

PYTHON = ROOT / ".venv-train" / "bin" / "python"
needs_training = pytest.mark.skipif(
    not PYTHON.is_file(), reason="LEFT OUT: the recipe, for want of deploy/setup.sh train"
)
PICTURES = ROOT / "deploy" / "demo" / "pictures"
LARGEST = {"features": 700_000, "features-large": 4_500_000}
TAUGHT = {"train", "train_neither"}
COLOURS = {"blue": (200, 40, 40), "green": (40, 200, 40), "red": (40, 40, 200)}
REGRESSION = """
import numpy
from models import regression
random = numpy.random.default_rng(0)
truth = numpy.repeat(numpy.arange(3), 40)
centres = random.normal(0, 1, (3, 30))
apart = centres[truth] + random.normal(0, 0.3, (120, 30))
noise = random.normal(0, 1, (120, 30))
places = [numpy.flatnonzero(truth == k) for k in range(3)]
taken, left = regression.draw(places, 10, random)
assert numpy.bincount(truth[taken]).tolist() == [10, 10, 10]
assert sorted([*taken, *left]) == list(range(120))
train = apart[taken], truth[taken]
assert regression.accuracy(*train, apart[left], truth[left], 1.0) == 1.0
# Each class counts the same: 30 right of one class, 1 of 10 of another.
uneven = numpy.concatenate([apart[truth == 0][:30], apart[truth == 0][30:]])
said = numpy.array([0] * 30 + [1] * 10)
assert regression.accuracy(*train, uneven, said, 1.0) == 0.5
weak = regression.choose(noise, truth, numpy.random.default_rng(1))
strong = regression.choose(apart, truth, numpy.random.default_rng(1))
assert weak < strong, (weak, strong)
turned, others = regression.prepare(apart[taken], apart[left])
from sklearn.linear_model import LogisticRegression
plain = LogisticRegression(C=0.1, tol=1e-8, max_iter=2000)
mean = apart[taken].mean(axis=0)
scale = numpy.sqrt(numpy.mean((apart[taken] - mean) ** 2))
expected = plain.fit((apart[taken] - mean) / scale, truth[taken]).predict_proba(
    (apart[left] - mean) / scale)
same = plain.fit(turned, truth[taken]).predict_proba(others)
assert abs(expected - same).max() < 1e-5
"""


def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the training environment's Python."""
    command = ["nice", "-n", "10", str(PYTHON), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800)


@pytest.mark.parametrize("name", LARGEST)
def test_the_shipped_features_take_pixels_as_they_are(name: str) -> None:
    """Small enough; int8 on XNNPACK; bytes of a camera go in unchanged; 1,280 floats come out."""
    folder = locate.shipped().parent / name
    assert (folder / "model.tflite").stat().st_size <= LARGEST[name]
    running = backbone.start(ModelConfig(path=str(folder)))
    classifier, card = running.engine.classifier, running.engine.card
    assert running.engine.warnings == ()
    assert classifier.facts.kind == "int8"
    assert classifier.facts.left_out == ("QUANTIZE",)
    assert lookup_table(card.preprocessing, classifier.input) is None
    assert running.size == 1280
    assert card.golden
    assert len(card.golden.features) == 64


@pytest.mark.parametrize("name", LARGEST)
def test_the_shipped_features_are_alike_for_like_pictures(name: str) -> None:
    """Demo pictures of the same animal are more alike than those of different ones, on average."""
    running = backbone.start(ModelConfig(path=str(locate.shipped().parent / name)))
    files = sorted([*PICTURES.glob("cat_*.jpg"), *PICTURES.glob("dog_*.jpg")])
    features = np.array([running.features(read_picture(file)) for file in files])
    features -= features.mean(axis=0)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    alike = features @ features.T
    cats = np.array([file.name.startswith("cat_") for file in files])
    same = cats[:, None] == cats
    assert alike[same & ~np.eye(len(cats), dtype=bool)].mean() > alike[~same].mean() + 0.1


def write_pictures(folder: Path, names: Sequence[str], each: int, colour: Sequence[int]) -> None:
    """Write each x len(names) pictures in a colour, each with a pattern of its own."""
    random = np.random.default_rng(colour)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        for number in range(each):
            coarse = random.uniform(-60, 60, (6, 6)).astype(np.float32)
            pattern = cv2.resize(coarse, (80, 64), interpolation=cv2.INTER_CUBIC)
            pixels = np.clip(np.asarray(colour) + pattern[..., None], 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{name}{number}.png"), pixels)


def corpus(folder: Path, each: int) -> dataset.Dataset:
    """Return a data set of pictures cat and dog, in train; a tenth is held out."""
    samples = [
        Sample(folder / "train" / label / f"{number}.png", index, "one" if number else "two")
        for index, label in enumerate(("cat", "dog"))
        for number in range(each)
    ]
    parts: list[data.Part] = ["train" if s.path.stem[-1] != "9" else "held_out" for s in samples]
    pictures = np.zeros((0, 8, 8, 3), np.uint8)
    labels = ("cat", "dog")
    return dataset.Dataset(labels, (), tuple(samples), tuple(parts), pictures, Preprocessing())


def test_tasks_never_teach_with_what_they_test(tmp_path: Path) -> None:
    """Sizes leave 5 of each class; one class is no task; only training pictures decide choices."""
    images = tmp_path / "images"
    for kind, names, each in (
        ("test_independent/cat", ["Bengal_", "Birman_"], 16),
        ("test_independent/dog", ["pug_"], 30),
        ("train_neither", ["places_kitchen__", "places_living_room__"], 30),
        ("train_neither", ["scene15_kitchen__", "scene15_livingroom__", "other__"], 12),
    ):
        write_pictures(images / kind, names, each, (90, 90, 90))
        for file in (images / kind).glob("*.png"):
            file.rename(file.with_suffix(".jpg"))
    tasks = {task.name: task for task in shots.tasks(corpus(images, 100), images, seed=7)}
    assert {name: task.sizes for name, task in tasks.items()} == {
        "cat, dog, same sources": (5, 10, 20, 50),
        "cat, dog": (5, 10, 20, 50),
        "3 breeds": (5, 10),
        "2 rooms": (5, 10, 20),
        "2 rooms, grey": (5,),
        "2 rooms, other source": (5, 10, 20),
    }
    for task in tasks.values():
        taught = {file for files in task.pool.values() for file in files}
        assert not taught & {file for files in task.test.values() for file in files}
        assert not task.test or set(task.test) == set(task.pool)
        if task.choice:
            assert {file.relative_to(images).parts[0] for file in taught} <= TAUGHT
    pool = tasks["cat, dog, same sources"].pool["cat"]
    assert len(set(pool)) == len(pool) == 90
    assert not [file for file in pool if file.stem.endswith("9")], "a held-out picture"


def test_too_few_pictures_to_teach_with_are_one_line(tmp_path: Path) -> None:
    """With what is needed."""
    with pytest.raises(ConfigError, match=r"too few pictures to teach with: expected at least 10"):
        shots.tasks(corpus(tmp_path, 8), tmp_path, seed=7)


@needs_training
def test_the_regression_is_the_one_it_says() -> None:
    """Separable classes are told apart, noise gets a stronger penalty, turning changes nothing."""
    done = python("-c", REGRESSION)
    assert done.returncode == 0, done.stderr[-3000:]


@needs_training
def test_features_are_made_measured_and_replaced_whole(tmp_path: Path) -> None:
    """From random weights to an int8 model like its float one, a table, and no half a model."""
    np.savez(tmp_path / "random.npz", **lite_reference.random_weights("lite0", 2))  # type: ignore[arg-type]
    for name, colour in COLOURS.items():
        write_pictures(tmp_path / "images" / "train" / name, [""], 30, colour)
    options: list[object] = ["--backbone", "lite0", "--side", 64, "--out", tmp_path / "out"]
    options += ["--quick", "--data", tmp_path / "images", "--held-out", 15, "--validation", 15]
    made = tmp_path / "made"
    made.mkdir()
    (made / "README.md").write_text("# mine\n\nwords\n")
    options += ["--to", made, "--weights", tmp_path / "random.npz"]
    for step in ("dataset", "features", "fewshot"):
        more = options if step != "dataset" else options[:-4]
        done = python("-m", f"models.{step}", *more)
        assert done.returncode == 0, done.stderr[-3000:]
    running = backbone.start(ModelConfig(path=str(made)))
    exact = backbone.start(ModelConfig(path=str(tmp_path / "out" / "features" / "lite0-float")))
    picture = read_picture(tmp_path / "images" / "train" / "red" / "3.png")
    int8, real = running.features(picture), exact.features(picture)
    assert exact.engine.classifier.facts.kind == "float"
    assert np.corrcoef(int8, real)[0, 1] > 0.9
    text = (made / "README.md").read_text()
    assert text.startswith("# mine\n\nwords\n\n<!-- few-shot")
    row = re.search(r"\| blue, green, red, same sources \| the rest \| int8 \| ([\d.]+) ± ", text)
    assert row
    assert float(row[1]) > 50, "by chance it would be 33"
    before = (made / "model.tflite").read_bytes()
    (tmp_path / "random.npz").write_bytes(b"none")
    done = python("-m", "models.features", *options)
    assert done.returncode == 1
    assert "random.npz: weights cannot be read" in done.stderr.strip().splitlines()[-1]
    assert (made / "model.tflite").read_bytes() == before
    assert not list(tmp_path.glob(".features-*"))
