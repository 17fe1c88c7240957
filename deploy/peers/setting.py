"""What a run measures with: our wheels, the peers' environment, networks, inputs, versions."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from deploy.opencv import pack
from deploy.peers.network import MODEL, ROOT, labels
from deploy.peers.record import Machine
from deploy.peers.shapes import PICTURES
from deploy.runtime import peers
from deploy.runtime.pins import ARCHES, VERSION, BuildError

PEERS: Final = ROOT / "build" / "peers"
OURS: Final = PEERS / "ours"
SIDES: Final = (224, 224)
LONGEST_S: Final = 300.0
"""For one child: a hundred times what it takes."""
QUIET: Final = {"OPENCV_LOG_LEVEL": "SILENT", "TF_CPP_MIN_LOG_LEVEL": "3"}
PACKAGES: Final = ("numpy", "opencv-python-headless", "ai-edge-litert", "pillow")


@dataclass(frozen=True, slots=True)
class Place:
    """What there is on this machine.

    wheels   part -> folder with our wheel of it: runtime, opencv
    missing  what there is not -> why: runtime, opencv, peers, networks
    python   of the peers' environment
    int8, floats, inputs  files for runtimes.py
    """

    wheels: Mapping[str, str]
    missing: Mapping[str, str]
    python: Path
    int8: Path
    floats: Path
    inputs: Path


def prepare(folder: Path) -> Place:
    """Return what there is, unpacked and converted into ``folder`` and build/peers."""
    wheels, missing = {}, {}
    for part, found in (("runtime", _runtime), ("opencv", _opencv)):
        try:
            wheels[part] = str(peers.unzip(found(), OURS / part))
        except BuildError as exc:
            missing[part] = str(exc)
    place = Place(
        wheels, missing, PEERS / "bin" / "python",
        folder / "int8.onnx", folder / "float.onnx", folder / "inputs.npy",
    )  # fmt: skip
    np.save(place.inputs, inputs())
    if not place.python.exists():
        missing["peers"] = f"no {place.python.relative_to(ROOT)}; deploy/setup.sh peers"
        return place
    command = [str(place.python), "-m", "deploy.peers.onnx_network", str(MODEL)]
    written = subprocess.run(
        [*command, str(place.int8), str(place.floats)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if written.returncode:
        missing["networks"] = _last(written.stderr)
    return place


def inputs() -> NDArray[np.uint8]:
    """Return the clip's pictures as the network's input, (N, 224, 224, 3) RGB."""
    read = [cv2.imread(str(path)) for path in PICTURES]
    small = [cv2.resize(picture, SIDES) for picture in read if picture is not None]
    return np.stack([cv2.cvtColor(one, cv2.COLOR_BGR2RGB) for one in small]).astype(np.uint8)


def _arch() -> str:
    machine = os.uname().machine
    return next((arch for arch, name in ARCHES.items() if name == machine), machine)


def _runtime() -> Path:
    return peers.our_wheel(_arch(), ".".join(platform.python_version_tuple()[:2]))


def _opencv() -> Path:
    wheel = ROOT / "build" / "dist" / pack.file_name(_arch())
    if not wheel.exists():
        raise BuildError(69, "no such wheel", where=wheel.name, hint=f"make opencv ARCH={_arch()}")
    return wheel


def child(
    module: str,
    arguments: Sequence[object],
    python: Path | None = None,
    paths: Sequence[str] = (),
) -> dict[str, Any]:
    """Return what a program of ours has printed, or {"refused": reason}; it runs to its end."""
    command = [str(python or sys.executable), "-m", module, *map(str, arguments)]
    env = {**os.environ, **QUIET, "PYTHONPATH": os.pathsep.join(paths)}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=False,
            timeout=LONGEST_S, errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"refused": f"not done in {LONGEST_S:.0f} s"}
    if done.returncode:
        return {"refused": _last(done.stderr) or f"status {done.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def expected() -> list[int]:
    """Return the class of each picture, which its name begins with."""
    return [labels().index(path.name.partition("_")[0]) for path in PICTURES]


def machine(place: Place, rounds: int, load: tuple[float, float]) -> Machine:
    """Return where this runs, and on what."""
    cpu = _field(Path("/proc/cpuinfo"), "model name", ":") or os.uname().machine
    system = _field(Path("/etc/os-release"), "PRETTY_NAME", "=").strip('"')
    versions = {"Python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    versions["our runtime"] = VERSION if "runtime" in place.wheels else "none"
    versions["our OpenCV"] = pack.VERSION if "opencv" in place.wheels else "none"
    for program in (("ffmpeg", "-version"), ("mosquitto", "-h")):
        versions[program[0]] = _version(program)
    return Machine(
        time.strftime("%Y-%m-%d"), cpu, len(os.sched_getaffinity(0)),
        f"{system}, Linux {os.uname().release.partition('-')[0]}", versions, rounds, load,
    )  # fmt: skip


def _version(command: Sequence[str]) -> str:
    """Return the third word that a program says of itself."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
        )
    except OSError:
        return "none"
    return done.stdout.split()[2] if len(done.stdout.split()) > 2 else "unknown"


def _field(path: Path, name: str, separator: str) -> str:
    for line in path.read_text(errors="replace").splitlines():
        key, _, value = line.partition(separator)
        if key.strip() == name:
            return value.strip()
    return ""


def _last(text: str) -> str:
    """Return the last line that is not empty."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
