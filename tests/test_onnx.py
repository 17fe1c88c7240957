"""The recipe's float network as ONNX: equal to Keras, readable by what the file alone says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.test_recipe_run import WEIGHTS

PYTHON = ROOT / ".venv-train" / "bin" / "python"
LABELS = ("circle", "cross", "square")
SIDE = 96
PICTURES = 24
"""Of each label; half of them validate."""


def left_out() -> str:
    """Return what these tests lack, "" for nothing."""
    if not PYTHON.is_file():
        return "for want of deploy/setup.sh train"
    packages = "import onnx, onnxruntime, tf2onnx"
    done = subprocess.run([PYTHON, "-c", packages], capture_output=True, check=False)
    return "for want of onnx in .venv-train: deploy/setup.sh train" if done.returncode else ""


pytestmark = pytest.mark.skipif(bool(left_out()), reason=f"LEFT OUT: ONNX, {left_out()}")

PAGE = (ROOT / "docs" / "jetson.md").read_text()
READER = PAGE.split("```python\n")[1].split("```")[0]
"""A program that knows nothing but the file."""
ENDS = """
import json, sys, onnx
model = onnx.load(sys.argv[1])
ends = [(end.name, [dim.dim_param or dim.dim_value for dim in end.type.tensor_type.shape.dim])
        for end in (*model.graph.input, *model.graph.output)]
said = {entry.key: entry.value for entry in model.metadata_props}
print(json.dumps([ends, said, sorted({node.op_type for node in model.graph.node})]))
"""
GOLDEN = """
import json, sys, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
image = np.fromfile(sys.argv[2], np.float32).reshape(1, *session.get_inputs()[0].shape[1:])
print(json.dumps(session.run(["scores"], {"image": image})[0][0].tolist()))
"""
ALTER = """
import sys
from pathlib import Path
import numpy as np, onnx
from onnx import numpy_helper as helper
from edge.errors import ModelError
from models import trained
from models.onnx import convert, prove
_, card = trained.find(sys.argv[2])
network = trained.read(Path(sys.argv[1]), card)
model = onnx.load_from_string(convert(network, 96, card))
one = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
one.CopyFrom(helper.from_array(helper.to_array(one) * np.float32(1.01), one.name))
pictures = np.random.default_rng(1).uniform(-1, 1, (3, 3, 96, 96)).astype(np.float32)
try:
    prove(network, model.SerializeToString(), pictures)
except ModelError as exc:
    print(exc)
"""

REFUSALS = """
import json, sys
from edge.errors import EdgeError
from models import onnx
lines = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = arguments[1:]
    try:
        onnx.main()
    except EdgeError as exc:
        lines.append(str(exc))
print(json.dumps(lines))
"""
UNKNOWN = """
import sys, keras
picture = keras.Input((None, None, 3))
pooled = keras.layers.GlobalAveragePooling2D()(picture)
odd = keras.ops.erfinv(pooled / 10)
scores = keras.layers.Dense(3, "softmax", name="scores")(odd)
keras.Model(picture, scores).save(sys.argv[1])
"""


def python(*arguments: object) -> str:
    """Run the training environment's Python; return what it prints."""
    done = run(*arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the training environment's Python, whatever comes of it."""
    command = ["nice", "-n", "10", str(PYTHON), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def write_pictures(folder: Path) -> None:
    """Write FOLDER/train/LABEL/*.png, no two alike."""
    random = np.random.default_rng(5)
    for label in LABELS:
        (folder / "train" / label).mkdir(parents=True)
        for index in range(PICTURES):
            small = random.integers(0, 256, (6, 8, 3), np.uint8)
            picture = cv2.resize(small, (128, 96), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(folder / "train" / label / f"{index}.png"), picture)


def step(place: Path, *arguments: object) -> tuple[object, ...]:
    """Return the command line of the step on the networks in ``place``."""
    folders = ("--out", place / "out", "--to", place / "onnx", "--side", SIDE)
    return ("-m", "models.onnx", *folders, *arguments)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, their data set, and both kinds of network with a card each."""
    folder = tmp_path_factory.mktemp("onnx")
    write_pictures(folder)
    half = ("--held-out", 6, "--validation", len(LABELS) * PICTURES // 2)
    python("-m", "models.dataset", "--data", folder, "--out", folder / "out", *half)
    for name in ("mobilenet", "lite0"):
        made = folder / "made" / name
        made.mkdir(parents=True)
        python("-m", "tests.random_network", name, "float32", SIDE, made, *LABELS)
        (made / f"{name}.keras").rename(folder / "out" / f"{name}.keras")
        (made / "float32").rename(folder / name)
    return folder


@pytest.mark.parametrize("name", ["mobilenet", "lite0"])
def test_a_reader_with_the_file_alone_gets_the_daemon_s_scores(name: str, place: Path) -> None:
    """Names, shapes, colour, crop, mean, std and labels are true; the scores are calibrated."""
    said = python(*step(place, "--model", place / name, "--backbone", name))
    assert "36 pictures, nothing differs by more than" in said
    assert "the same label for 36, scores" in said
    temperature = float(said.split("temperature ")[1].split()[0])
    pictures = [place / "train" / label / "0.png" for label in LABELS]
    file = place / "onnx" / f"{name}.onnx"
    ends, card, operators = json.loads(python("-c", ENDS, file))
    assert ends == [["image", ["batch", 3, SIDE, SIDE]], ["scores", ["batch", 3]]]
    assert (card["name"], card["color"], card["model_license"]) == (name, "rgb", "none")
    assert f"| operators | {', '.join(sorted(operators, key=PAGE.find))}; opset 13 |" in PAGE
    read = [json.loads(line) for line in python("-c", READER, file, *pictures).splitlines()]
    done = subprocess.run(
        [sys.executable, "-m", "edge", "classify", "--json", "--model", place / name, *pictures],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [json.loads(line)["scores"] for line in done.stdout.splitlines()]
    for scores, row in zip(read, rows, strict=True):
        warm = np.array([*row.values()]) ** (1 / temperature)
        assert [*scores.values()] == pytest.approx(warm / warm.sum(), abs=5e-3)
        assert [*scores] == [*row]
    assert np.ptp([list(row.values()) for row in rows], axis=0).max() > 0.05, "all scores alike"


def test_the_golden_picture_is_written_as_the_network_takes_it(place: Path) -> None:
    """The raw tensor beside the file gives the scores that are printed."""
    folder = place / "with-golden"
    folder.mkdir()
    for name in ("model.tflite", "model.toml"):
        (folder / name).write_bytes((place / "mobilenet" / name).read_bytes())
    (folder / "golden.png").write_bytes((place / "train" / "cross" / "1.png").read_bytes())
    command: list[str | Path] = [sys.executable, "-m", "edge", "classify", "--json", "--model"]
    command.append(folder)
    done = subprocess.run([*command, folder / "golden.png"], capture_output=True, check=True)
    scores = list(json.loads(done.stdout)["scores"].values())
    with (folder / "model.toml").open("a") as card:
        card.write(f'\n[golden]\npicture = "golden.png"\nscores = {scores}\n')
    said = python(*step(place, "--model", folder, "--name", "mobilenet"))
    printed = said.split("mobilenet.golden.bin: ")[1].splitlines()[0].split(", ")
    files = (place / "onnx" / f"mobilenet.{suffix}" for suffix in ("onnx", "golden.bin"))
    found = json.loads(python("-c", GOLDEN, *files))
    assert [*map(float, printed)] == pytest.approx(found, abs=1e-4)
    tensor = np.fromfile(place / "onnx" / "mobilenet.golden.bin", np.float32)
    assert tensor.shape == (3 * SIDE * SIDE,)
    assert -1 <= tensor.min() < tensor.max() <= 1


def test_a_model_of_features_comes_from_its_weights(place: Path, tmp_path: Path) -> None:
    """It needs no trained network; its output has the features' name."""
    files = (tmp_path / "student.npz", tmp_path / "teacher.npz")
    python("-c", WEIGHTS, *files)
    text = 'name = "mine"\nfile = "model.tflite"\n[output]\nactivation = "features"\n'
    (tmp_path / "model.toml").write_text(text)
    python(*step(place, "--model", tmp_path, "--weights", files[0]))
    ends, card, _ = json.loads(python("-c", ENDS, place / "onnx" / "mine.onnx"))
    assert ends == [["image", ["batch", 3, SIDE, SIDE]], ["features", ["batch", 1280]]]
    assert (card["activation"], "labels" in card) == ("features", False)


def test_a_file_that_is_not_equal_is_refused(place: Path) -> None:
    """One kernel, scaled by 1 %, is enough; the refusal says by how much the scores differ."""
    said = python("-c", ALTER, place / "out" / "mobilenet.keras", place / "mobilenet")
    assert said.startswith("onnxruntime differs from Keras on 3 pictures: expected at most")


def test_what_cannot_be_written_is_refused_in_one_line(place: Path, tmp_path: Path) -> None:
    """No card, a head, no network, not Keras's, unknown layers, another's, no data set."""
    folder, two, taught = place / "mobilenet", tmp_path / "float32", tmp_path / "taught"
    taught.mkdir()
    text = 'name = "taught"\nfile = "x"\nlabels = ["a", "b"]\n[head]\nfile = "h"\nsha256 = "0"\n'
    (taught / "model.toml").write_text(text)
    (place / "out" / "text.keras").write_text("not a network")
    python("-c", UNKNOWN, place / "out" / "odd.keras")
    python("-m", "tests.random_network", "mobilenet", "float32", SIDE, tmp_path, "cat", "dog")
    cases = {
        "no-such: no model.toml in this folder: expected catdog": ("no-such",),
        "model.toml: the model has a head of its own: expected a": (taught,),
        "gone.keras: no float network; run `make model` first": (folder, "--name", "gone"),
        "text.keras: not a Keras network: expected a .keras": (folder, "--name", "text"),
        "mobilenet: the network cannot be written as ONNX": (folder, "--name", "odd"),
        "mobilenet.keras: the network does not fit the card: expected 2 scores": (two,),
        "dataset.json: no data set; run": (two, "--out", tmp_path),
    }
    lines = [[*map(str, step(place, "--model", *rest))] for rest in cases.values()]
    said = json.loads(python("-c", REFUSALS, json.dumps(lines)).splitlines()[-1])
    for line, expected in zip(said, cases, strict=True):
        assert expected in line
    done = run(*lines[0])
    assert (done.returncode, done.stderr.strip().splitlines()[-1]) == (1, said[0])
    assert "Traceback" not in done.stderr
