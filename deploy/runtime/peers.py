"""The compared runtimes: our wheel and PyPI's, installed for an emulated root.

Knows their packages and dependencies, nothing of measuring.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.runtime.emulated import Guest, add_wheels
from deploy.runtime.pins import ARCHES, HERE, VERSION, BuildError

ROOT: Final = HERE.parents[1]
EMULATED: Final = ROOT / "build" / "runtime" / "emulated"
NUMPY: Final = {"bookworm": "numpy==1.26.4", "trixie": "numpy==2.2.6"}
PEERS: Final = {
    "PyPI tflite-runtime 2.14.0": ("tflite_runtime", "tflite-runtime==2.14.0"),
    "PyPI ai-edge-litert 2.3.0": ("ai_edge_litert", "ai-edge-litert==2.3.0"),
}
ONLY_64_BITS: Final = ("ai_edge_litert",)
DEPENDENCIES: Final = {
    "ai_edge_litert": (
        "backports.strenum",
        "flatbuffers",
        "tqdm",
        "typing-extensions",
        "protobuf",
        "ml_dtypes",
    ),
}
"""Dependencies beside NumPy: counted as installed, and needed to import it."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """One runtime to measure.

    title    as in the table
    package  its name in Python
    paths    folders with it and its dependencies, NumPy's last
    """

    title: str
    package: str
    paths: tuple[Path, ...]

    def shared_object_bytes(self) -> int:
        """Return the size of its shared objects."""
        return sum(path.stat().st_size for path in (self.paths[0] / self.package).rglob("*.so*"))

    def installed_bytes(self) -> int:
        """Return the size of its files and of its dependencies, without NumPy."""
        return sum(
            path.stat().st_size
            for folder in self.paths[:-1]
            for path in folder.rglob("*")
            if path.is_file() and path.name != ".complete"
        )


def folder(guest: Guest) -> Path:
    """Return the folder of packages for ``guest``."""
    return EMULATED / "wheels" / f"{guest.suite}-{guest.arch}"


def numpy(guest: Guest) -> Path:
    """Return NumPy for ``guest``: PyPI's, or Debian's for 32 bits, where PyPI has none."""
    if guest.arch == "armhf":
        return guest.debian_packages
    return add_wheels(folder(guest) / "numpy", guest, [NUMPY[guest.suite]])


def ours(guest: Guest) -> Runtime:
    """Return the wheel of `make runtime`, installed again; raise BuildError without one."""
    path = unzip(our_wheel(guest.arch, guest.python), folder(guest) / "ours")
    return Runtime(f"ours, {VERSION}", "tflite_runtime", (path, numpy(guest)))


def peer(guest: Guest, title: str) -> Runtime:
    """Return one of PEERS."""
    package, requirement = PEERS[title]
    paths = [add_wheels(folder(guest) / package, guest, [requirement])]
    if package in DEPENDENCIES:
        paths.append(add_wheels(folder(guest) / f"{package}-needs", guest, DEPENDENCIES[package]))
    return Runtime(title, package, (*paths, numpy(guest)))


def runtimes(guest: Guest) -> list[Runtime]:
    """Return ours, and those of PyPI's that exist for ``guest``."""
    titles = [
        title
        for title, (package, _) in PEERS.items()
        if guest.arch == "arm64" or package not in ONLY_64_BITS
    ]
    return [ours(guest), *(peer(guest, title) for title in titles)]


def our_wheel(arch: str, python: str) -> Path:
    """Return the path of the wheel of `make runtime`."""
    tag = "cp" + python.replace(".", "")
    pattern = f"*{VERSION}-{tag}-{tag}-*_{ARCHES[arch]}.whl"
    wheels = sorted((ROOT / "build" / "dist").glob(pattern))
    if not wheels:
        raise BuildError(69, "no such wheel", hint=f"make runtime ARCH={arch} PY={python}")
    return wheels[-1]


def unzip(wheel: Path, into: Path) -> Path:
    """Install a wheel of ours for the guest: a wheel is a zip of the folder's content."""
    subprocess.run(["rm", "-rf", str(into)], check=True)
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(into)], check=True)
    return into
