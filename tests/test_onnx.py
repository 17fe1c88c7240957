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

MAKE = """
import sys
from pathlib import Path
import keras, msgspec, numpy as np, tensorflow as tf
from models import backbones, network
name, out, folder, side = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
labels = sys.argv[5:]
body = backbones.BACKBONES[name]
model = network.build(len(labels), body, None, 1)
random = np.random.default_rng(2)
for layer in model.layers:
    if layer.weights:  # He et al. 2015: values stay of the same size from layer to layer
        kernel, bias = layer.get_weights()
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        inputs = np.prod(kernel.shape[: 2 if depthwise else -1])
        kernel = random.normal(0, np.sqrt(2 / inputs), kernel.shape)
        layer.set_weights([kernel, random.normal(0, 0.1, bias.shape)])
model.save(out / f"{name}.keras")
folder.mkdir()
converter = tf.lite.TFLiteConverter.from_keras_model(network.at_size(model, side))
(folder / "model.tflite").write_bytes(converter.convert())
how = {"central_fraction": 0.875, "mean": body.mean, "std": body.std}
card = {"name": folder.name, "file": "model.tflite", "labels": labels, "license": "none",
        "preprocessing": how, "output": {"activation": "softmax"}}
(folder / "model.toml").write_bytes(msgspec.toml.encode(card))
"""

READER = """
import json, sys, cv2, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
said = session.get_modelmeta().custom_metadata_map
(taken,), (given,) = session.get_inputs(), session.get_outputs()
_, channels, high, wide = taken.shape
assert (said["color"], said["resize"], channels) == ("rgb", "stretch", 3)
rows = []
for name in sys.argv[2:]:
    picture = cv2.cvtColor(cv2.imread(name), cv2.COLOR_BGR2RGB)
    height, width = picture.shape[:2]
    edge = (1 - json.loads(said["central_fraction"])) / 2
    y, x = round(height * edge), round(width * edge)
    small = cv2.resize(picture[y : height - y, x : width - x], (wide, high))
    mean, std = (np.float32(json.loads(said[key])) for key in ("mean", "std"))
    rows.append(((small - mean) / std).transpose(2, 0, 1))
scores = session.run([given.name], {taken.name: np.stack(rows)})[0]
print(json.dumps({"ends": [taken.name, taken.shape, given.name, given.shape], "said": said,
    "scores": [dict(zip(json.loads(said["labels"]), map(float, row))) for row in scores]}))
"""

ALTER = """
import sys
from pathlib import Path
import numpy as np, onnx, onnx.numpy_helper as helper
from edge.errors import ModelError
from models.onnx import convert, find, prove, read
trained, folder = map(Path, sys.argv[1:3])
network, (_, card) = read(trained), find(str(folder))
model = onnx.load_from_string(convert(network, 96, card, trained))
one = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
one.CopyFrom(helper.from_array(helper.to_array(one) * np.float32(1.01), one.name))
pictures = np.random.default_rng(1).uniform(-1, 1, (3, 3, 96, 96)).astype(np.float32)
try:
    prove(network, model.SerializeToString(), pictures)
except ModelError as exc:
    print(exc)
"""

UNKNOWN = """
import sys, keras
picture = keras.Input((None, None, 3))
pooled = keras.layers.GlobalAveragePooling2D()(picture)
odd = keras.ops.erfinv(pooled / 10)
keras.Model(picture, keras.layers.Dense(3, "softmax")(odd)).save(sys.argv[1])
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
        python("-c", MAKE, name, folder / "out", folder / name, SIDE, *LABELS)
    return folder


@pytest.mark.parametrize("name", ["mobilenet", "lite0"])
def test_a_reader_with_the_file_alone_gets_the_daemon_s_scores(name: str, place: Path) -> None:
    """Names, shapes, colour, crop, mean, std and labels of the metadata are true."""
    said = python(*step(place, "--model", place / name))
    assert "36 pictures, no score differs by more than" in said
    assert "the same label for 36 of them" in said
    pictures = [place / "train" / label / "0.png" for label in LABELS]
    read = json.loads(python("-c", READER, place / "onnx" / f"{name}.onnx", *pictures))
    ends = ["image", ["batch", 3, SIDE, SIDE], "scores", ["batch", 3]]
    assert read["ends"] == ends
    assert read["said"]["model_license"] == "none"
    done = subprocess.run(
        [sys.executable, "-m", "edge", "classify", "--json", "--model", place / name, *pictures],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [json.loads(line)["scores"] for line in done.stdout.splitlines()]
    for scores, row in zip(read["scores"], rows, strict=True):
        assert scores == pytest.approx(row, abs=2e-3)
    assert np.ptp([list(row.values()) for row in rows], axis=0).max() > 0.05, "all scores alike"


def test_the_golden_picture_is_written_as_the_network_takes_it(place: Path) -> None:
    """The raw tensor beside the file gives the scores that are printed."""
    folder = place / "with-golden"
    folder.mkdir()
    for name in ("model.tflite", "model.toml"):
        (folder / name).write_bytes((place / "mobilenet" / name).read_bytes())
    picture = place / "train" / "ring.png"
    cv2.imwrite(str(folder / "golden.png"), cv2.imread(str(place / "train" / "cross" / "1.png")))
    del picture
    command = [sys.executable, "-m", "edge", "classify", "--json", "--model", folder]
    done = subprocess.run([*command, folder / "golden.png"], capture_output=True, check=True)
    scores = list(json.loads(done.stdout)["scores"].values())
    with (folder / "model.toml").open("a") as card:
        card.write(f'\n[golden]\npicture = "golden.png"\nscores = {scores}\n')
    said = python(*step(place, "--model", folder, "--name", "mobilenet"))
    printed = json.loads(said.split("mobilenet.golden.bin: ")[1].splitlines()[0])
    assert printed == pytest.approx(scores, abs=2e-3)
    tensor = np.fromfile(place / "onnx" / "mobilenet.golden.bin", np.float32)
    assert tensor.shape == (3 * SIDE * SIDE,)
    assert -1 <= tensor.min() < tensor.max() <= 1
