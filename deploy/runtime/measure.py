"""The table in docs/runtime.md: our runtime beside PyPI's two, emulated, counted and modelled.

    python -m deploy.runtime.measure [--networks DIR] [--write]

For each runtime and network: instructions of one warm invoke, modelled Cortex-A72 cycles and bytes
moved; sizes; instructions to import; resident memory. One thread. --write puts the tables into
docs/runtime.md between its two marks; without it they go to stdout.

Knows how to run and to lay out, nothing of plugins and models inside.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.runtime import model_a72
from deploy.runtime.emulated import Guest, add_wheels, make_root
from deploy.runtime.pins import HERE, VERSION, BuildError

ROOT: Final = HERE.parents[1]
BUILD: Final = ROOT / "build" / "runtime"
EMULATED: Final = BUILD / "emulated"
PAGE: Final = ROOT / "docs" / "runtime.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
NUMPY: Final = "numpy==1.26.4"
PEERS: Final = {
    "PyPI tflite-runtime 2.14.0": ("tflite_runtime", "tflite-runtime==2.14.0"),
    "PyPI ai-edge-litert 2.3.0": ("ai_edge_litert", "ai-edge-litert==2.3.0"),
}
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
"""What a runtime asks for beside NumPy: counted as installed, and in the way of its import."""
MEMORY_RUNS: Final = 5
PHASES: Final = ("python", "import", None, "load", None, "first", None, None, None, "warm")
"""What the guest's marks end, in their order."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """One runtime to measure.

    title    as in the table
    package  what Python imports
    paths    folders with it and with what it asks for
    """

    title: str
    package: str
    paths: tuple[Path, ...]

    def library_bytes(self) -> int:
        """Return the size of its shared objects."""
        return sum(path.stat().st_size for path in (self.paths[0] / self.package).rglob("*.so*"))

    def installed_bytes(self) -> int:
        """Return the size of all its files, and of those of what it asks for beside NumPy."""
        return sum(
            path.stat().st_size
            for folder in self.paths[:-1]
            for path in folder.rglob("*")
            if path.is_file() and path.name != ".complete"
        )


@dataclass(frozen=True, slots=True)
class Row:
    """What one runtime needs for one network; instructions by phase."""

    cost: model_a72.Cost
    instructions: dict[str, int]


def runtimes(guest: Guest, ours: Path) -> list[Runtime]:
    """Return the three, installed for ``guest`` side by side."""
    wheels = EMULATED / "wheels" / f"{guest.suite}-{guest.arch}"
    numpy = add_wheels(wheels / "numpy", guest, [NUMPY])
    mine = unzip(ours, wheels / "measured")
    found = [Runtime(f"ours, {VERSION}", "tflite_runtime", (mine, numpy))]
    for title, (package, requirement) in PEERS.items():
        paths = [add_wheels(wheels / package, guest, [requirement])]
        if package in DEPENDENCIES:
            paths.append(add_wheels(wheels / f"{package}-asks", guest, DEPENDENCIES[package]))
        found.append(Runtime(title, package, (*paths, numpy)))
    return found


def unzip(wheel: Path, folder: Path) -> Path:
    """Install a wheel of ours for the guest: a wheel is a zip of what goes into the folder."""
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(folder)], check=True)
    return folder


def our_wheel(arch: str, python: str) -> Path:
    """Return the path of the wheel that `make runtime` wrote."""
    tag = "cp" + python.replace(".", "")
    machine = {"arm64": "aarch64", "armhf": "armv7l", "amd64": "x86_64"}[arch]
    found = sorted((ROOT / "build" / "dist").glob(f"*{VERSION}-{tag}-{tag}-*_{machine}.whl"))
    if not found:
        raise BuildError(69, "no wheel to measure", mend=f"make runtime ARCH={arch} PY={python}")
    return found[-1]


def plugin() -> Path:
    """Return count.c compiled for this machine."""
    path = BUILD / "count.so"
    source = HERE / "count.c"
    if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
        command = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(path), str(source)]
        subprocess.run(command, check=True)
    return path


def measure(guest: Guest, runtime: Runtime, network: Path) -> Row:
    """Return what ``runtime`` needs for ``network``."""
    blocks = BUILD / "blocks"
    done = guest.run(
        [str(HERE / "guest.py"), "marks", runtime.package, str(network)],
        runtime.paths,
        ["-plugin", f"{plugin()},blocks={blocks}"],
    )
    marks = [int(number) for number in re.findall(r"MARK (\d+)", done.stderr)]
    if done.returncode or len(marks) != len(PHASES):
        raise BuildError(
            70, f"{runtime.title} does not run", where=str(network), got=done.stderr[-200:]
        )
    counted = {name: mark for name, mark in zip(PHASES, marks, strict=True) if name}
    return Row(model_a72.cost(model_a72.read(blocks)), counted)


def memory(guest: Guest, runtime: Runtime, network: Path) -> dict[str, float]:
    """Return resident bytes by phase, medians: how much of a file is mapped ahead varies."""
    command = [str(HERE / "guest.py"), "marks", runtime.package, str(network)]
    found = [
        json.loads(guest.run(command, runtime.paths).stdout.splitlines()[-1])
        for _ in range(MEMORY_RUNS)
    ]
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def tables(guest: Guest, found: Sequence[Runtime], networks: Sequence[tuple[str, Path]]) -> str:
    """Return the Markdown."""
    lines = [
        "| network | runtime | instructions | modelled cycles | loaded | stored |",
        "|---|---|---|---|---|---|",
    ]
    rows: dict[str, Row] = {}
    for title, path in networks:
        for runtime in found:
            row = measure(guest, runtime, path)
            rows.setdefault(runtime.title, row)
            spent = row.cost
            lines.append(
                f"| {title} | {runtime.title} | {spent.instructions / 1e6:.1f} M |"
                f" {spent.cycles / 1e6:.1f} M | {spent.loaded / 1e6:.1f} MB |"
                f" {spent.stored / 1e6:.1f} MB |"
            )
            print(lines[-1], file=sys.stderr, flush=True)
    lines += [
        "",
        "| runtime | shared objects | installed, without NumPy | import | first invoke |"
        " memory: imported | loaded | after the first invoke |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for runtime in found:
        row = rows[runtime.title]
        rss_bytes = memory(guest, runtime, networks[0][1])
        imported, loaded, invoked = (
            f"{rss_bytes[name] / 1e6:.1f} MB" for name in ("imported", "loaded", "invoked")
        )
        lines.append(
            f"| {runtime.title} | {runtime.library_bytes() / 1e6:.2f} MB |"
            f" {runtime.installed_bytes() / 1e6:.2f} MB |"
            f" {row.instructions['import'] / 1e6:.1f} M | {row.instructions['first'] / 1e6:.1f} M |"
            f" {imported} | {loaded} | {invoked} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure everything."""
    parser = argparse.ArgumentParser(prog="deploy.runtime.measure")
    parser.add_argument("--networks", type=Path, default=BUILD / "networks")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    networks = [("shipped, int8", ROOT / "models" / "catdog" / "model.tflite")]
    for kind in ("int8", "uint8", "float"):
        path = asked.networks / f"{kind}.tflite"
        if path.exists():
            networks.append((f"MobileNetV2 1.0, {kind}", path))
        else:
            print(f"measure: LEFT OUT: {path}, see deploy/runtime/networks.py", file=sys.stderr)
    try:
        guest = make_root(EMULATED, "bookworm", "arm64")
        text = tables(guest, runtimes(guest, our_wheel("arm64", guest.python)), networks)
    except BuildError as exc:
        print(f"measure: {exc}", file=sys.stderr)
        return exc.status
    if not asked.write:
        print(text)
        return 0
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{text}{END}{rest.split(END)[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
