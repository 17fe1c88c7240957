"""The recipe from pictures to a model in the daemon, reduced: few pictures, one epoch a stage.

Five classes of drawn shapes, and networks that begin with random weights: what it proves is that
every step runs, resumes and fits the next, not what a model can learn.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.model import locate
from tests.conftest import ROOT
from tests.test_readers import READER

PYTHON = ROOT / ".venv-train" / "bin" / "python"
COMMAND = ("nice", "-n", "10", PYTHON)
"""Training takes the time of both cores that other tests, beside it, do not."""
COMPILED = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
"""Each step imports TensorFlow: to compile its modules takes seven seconds each time."""
SHAPES = ("circle", "cross", "ring", "square", "stripes")
BLANK = "blank"
LABELS = (BLANK, *SHAPES)
EACH = 16
VALIDATION = 20 + round(EACH / 8)
WEIGHTS = """
import sys, numpy, keras
from models.backbones import BACKBONES, build
for name, file in (("mobilenet", sys.argv[1]), ("lite2", sys.argv[2])):
    keras.utils.set_random_seed(1)
    arrays = {}
    for layer in build(BACKBONES[name], None).layers:
        if layer.weights:
            convolution, norm = BACKBONES[name].keys(layer.name)
            kernel, bias = (numpy.asarray(weight) for weight in layer.weights)
            kind = "depthwise_kernel" if layer.name.endswith("depthwise") else "kernel"
            arrays[f"{convolution}/{kind}"] = kernel
            for part in ("gamma", "beta", "moving_mean", "moving_variance"):
                arrays[f"{norm}/{part}"] = bias + (part in ("gamma", "moving_variance"))
    numpy.savez(file, **arrays)
"""
ZEROS = """
import sys, keras
from models import prune
kernels = prune.prunable(keras.models.load_model(sys.argv[1], compile=False))
print(len(kernels), sum(float((k.numpy() == 0).mean()) for k in kernels) / len(kernels))
"""
TWO_STAGES = """
import argparse, os, pathlib, sys
from models import augment, batches, schedule, train
from models.schedule import Schedule, Stage
stages = Stage("first", None, 3, 1e-3, 96), Stage("second", None, 2, 1e-3, 96)
schedule.SCHEDULES["mobilenet"] = Schedule((stages,), refit=False)
folder, limit, begun = pathlib.Path(sys.argv[1]), int(sys.argv[2]), []
class Ending(batches.Batches):
    def on_epoch_end(self):
        begun.append(1)
        if len(begun) == limit:
            os._exit(9)
        super().on_epoch_end()
train.Batches = Ending
train.train(argparse.Namespace(
    out=folder / "out", name="resumed", backbone="mobilenet", weights=folder / "student.npz",
    quick=False, side=96, seed=7, distil=0,
))
"""
"""Trains two stages; the process ends after so many ends of epochs, of which the first is before
any."""
pytestmark = pytest.mark.skipif(
    not PYTHON.is_file(), reason="LEFT OUT: the recipe, for want of deploy/setup.sh train"
)


def draw(shape: str, random: np.random.Generator) -> NDArray[np.uint8]:
    """Return a (96, 96, 3) picture of a shape in any colour, place and size."""
    picture = np.full((96, 96, 3), random.integers(0, 120, 3), np.uint8)
    colour = tuple(int(v) for v in random.integers(130, 256, 3))
    x, y, r = (int(v) for v in random.integers((36, 36, 15), (60, 60, 32)))
    if shape in ("circle", "ring"):
        cv2.circle(picture, (x, y), r, colour, -1 if shape == "circle" else 5)
    elif shape == "square":
        cv2.rectangle(picture, (x - r, y - r), (x + r, y + r), colour, -1)
    elif shape == "cross":
        cv2.line(picture, (x - r, y), (x + r, y), colour, 7)
        cv2.line(picture, (x, y - r), (x, y + r), colour, 7)
    else:
        for offset in range(-r, r, 8):
            cv2.line(picture, (x - r, y + offset), (x + r, y + offset), colour, 3)
    noisy = picture + random.normal(0, 6, picture.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def write_shapes(folder: Path, each: int) -> None:
    """Write FOLDER/train/SHAPE/*.png, and FOLDER/train_blank/*.png without a shape."""
    random = np.random.default_rng(5)
    for shape in SHAPES:
        (folder / "train" / shape).mkdir(parents=True)
        for index in range(each):
            cv2.imwrite(str(folder / "train" / shape / f"{index}.png"), draw(shape, random))
    (folder / f"train_{BLANK}").mkdir()
    for index in range(each):
        picture = cv2.resize(random.integers(0, 256, (4, 4, 3), np.uint8), (96, 96))
        cv2.imwrite(str(folder / f"train_{BLANK}" / f"{index}.png"), picture)


def python(*arguments: object) -> str:
    """Run the training environment's Python; return what it prints."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=ROOT,
        env=COMPILED,
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def kill_in_stage(stage: str, *arguments: object) -> None:
    """Run until a stage has begun, then kill -9."""
    command: list[str | Path] = [*COMMAND, "-u", *map(str, arguments)]
    with subprocess.Popen(
        command, cwd=ROOT, env=COMPILED, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout
        assert any(f"name='{stage}'" in line for line in running.stdout)
        running.send_signal(signal.SIGKILL)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run every step once, the training in two goes; return the folder of the model."""
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(folder, EACH)
    python("-c", WEIGHTS, folder / "student.npz", folder / "teacher.npz")
    options: list[object] = ["--quick", "--data", folder, "--out", folder / "out"]
    options += ["--held-out", 20, "--validation", 20, "--side", 96, "--background", BLANK]
    options += ["--weights", folder / "student.npz", "--teacher", folder / "teacher.npz"]
    python("-m", "models.dataset", *options)
    python("-m", "models.teacher", *options)
    kill_in_stage("end", "-m", "models.train", *options)
    output = python("-m", "models.train", *options)
    assert "name='head'" not in output, "a finished stage was run again"
    python("-m", "models.quantise", *options)
    python("-m", "models.export", *options, "--to", folder / "model")
    python("-m", "models.prune", *options)
    python("-m", "models.search", *options)
    python("-m", "models.report", *options, "--to", folder / "model")
    return folder


def test_five_classes_run_in_the_daemon_by_config_alone(made: Path) -> None:
    """The model is int8, attests itself, and gives five probabilities."""
    read = locate.read(made / "model" / "model.toml")
    assert read.labels == LABELS
    assert read.golden
    assert read.baseline
    assert (made / "model" / read.baseline.file).is_file()
    picture = made / "train" / "ring" / "0.png"
    done = subprocess.run(
        [sys.executable, "-m", "edge", "classify", "--json", "--model", made / "model", picture],
        capture_output=True,
        text=True,
        check=True,
    )
    scores = json.loads(done.stdout)["scores"]
    assert tuple(scores) == LABELS
    assert sum(scores.values()) == pytest.approx(1, abs=0.02)


def test_every_variant_is_measured_on_the_same_pictures(made: Path) -> None:
    """Four kinds, int8 with and without training, the same pictures; the run is drawn."""
    table = json.loads((made / "out" / "mobilenet-variants.json").read_text())
    assert list(table) == ["float32", "float16", "dynamic", "int8-calibrated", "int8"]
    sizes = [row["bytes"] for row in table.values()]
    assert sizes[0] > 1.8 * sizes[1] > 1.8 * max(sizes[2:])
    for row in table.values():
        assert {name: result["images"] for name, result in row["sets"].items()} == {
            "held_out": 20,
            "validation": VALIDATION,
        }
    assert (made / "out" / "mobilenet.png").stat().st_size > 1000


def test_pruning_leaves_thirty_percent_of_the_weights(made: Path) -> None:
    """Every pointwise kernel and the head; the zeros are still there after settling."""
    kernels, zeros = python("-c", ZEROS, made / "out" / "pruned.keras").split()
    assert int(kernels) == 35
    assert float(zeros) == pytest.approx(0.7, abs=0.01)
    table = json.loads((made / "out" / "pruned.json").read_text())
    assert table["pruned float32"]["gzip_bytes"] < 0.75 * table["trained float32"]["gzip_bytes"]
    assert "pruned sparse" in (made / "model" / "README.md").read_text()


def test_other_sizes_are_measured_by_cost(made: Path) -> None:
    """The student's size and the teacher: MACs as published, and a plot beside the model."""
    student, teacher = json.loads((made / "out" / "points.json").read_text())
    assert student["macs"] == pytest.approx(58.2e6, rel=0.01)
    assert teacher["macs"] > 3 * student["macs"]
    assert teacher["images"] == student["images"] == VALIDATION
    assert (made / "model" / "variants.png").stat().st_size > 5000


def test_another_reader_finds_labels_and_normalisation(made: Path) -> None:
    """MediaPipe classifies with the file alone, as the daemon does."""
    picture = made / "model" / "golden.png"
    read = locate.read(made / "model" / "model.toml")
    golden, share = read.golden, read.preprocessing.central_fraction
    assert golden
    assert share == 0.875
    found = json.loads(python("-c", READER, made / "model" / "model.tflite", picture, share))
    assert set(found) <= set(LABELS)
    best = max(found, key=lambda name: float(found[name]))
    assert found[best] == pytest.approx(golden.scores[LABELS.index(best)], abs=0.05)
    assert best == LABELS[int(np.argmax(golden.scores))]


def test_an_export_that_fails_leaves_the_good_model(made: Path) -> None:
    """A broken network is refused in one line and the model in place stays as it is."""
    before = (made / "model" / "model.tflite").read_bytes()
    command: list[str | Path] = [*COMMAND, "-m", "models.export", "--name", "gone", "--quick"]
    command += ["--out", made / "out", "--data", made, "--to", made / "model"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no trained network" in done.stderr.strip().splitlines()[-1]
    assert (made / "model" / "model.tflite").read_bytes() == before


def test_a_stage_after_a_resumed_one_trains_all_its_epochs(made: Path) -> None:
    """Ended after the second epoch of the first stage: one more of it, and two of the second."""
    command: list[str | Path] = [*COMMAND, "-c", TWO_STAGES, made, "3"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 9, ended.stderr[-2000:]
    python("-c", TWO_STAGES, made, 0)
    rows = (made / "out" / "resumed.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == [0, 1, 2, 0, 1]
