"""Everything that is measured: tables, their rows, and how each row is measured once."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.peers import daemons, emulated, setting
from deploy.peers.loops import LOOPS
from deploy.peers.network import MODEL
from deploy.peers.setting import Place
from deploy.runtime.pins import BuildError

TABLES: Final = ("loops", "runtimes", "programs", "emulated")
SOURCES: Final = {
    "memory": tuple(LOOPS),
    "film": ("naive", "label_image", "ours"),
    "pictures": ("naive", "label_image", "ours"),
}
THREADS: Final = {"1": 1, "all": 0}
RUNTIMES: Final = (
    *(("ours", "int8"), ("tflite_runtime", "int8"), ("ai_edge_litert", "int8")),
    *(("onnxruntime", "int8, ONNX"), ("onnxruntime", "float, ONNX"), ("opencv", "float, ONNX")),
    *(("opencv", "int8, ONNX"), ("opencv", "int8")),
)
"""Runtime, and the form of the network that it gets; the last two are refused by OpenCV 4.14."""
PROGRAM_S: Final = 4.0
ONCE: Final = 1_000
"""Counted, not timed: every round would give the same."""


@dataclass(frozen=True, eq=False, slots=True)
class Task:
    """One row of one table.

    run    measures it once; {"refused": reason} where that is impossible
    every  it is measured in one round of so many
    """

    table: str
    key: tuple[str, ...]
    run: Callable[[], dict[str, Any]]
    every: int = 1


def tasks(
    place: Place, folder: Path, tables: Iterable[str], seconds: float, stack: contextlib.ExitStack
) -> list[Task]:
    """Return what is to be measured, in the order of the tables.

    stack  keeps what lasts for the whole run: the broker
    """
    made = {
        "loops": lambda: _loops(place, seconds),
        "runtimes": lambda: _runtimes(place, seconds),
        "programs": lambda: _programs(place, folder, stack),
        "emulated": lambda: _emulated(folder),
    }
    return [task for table in TABLES if table in tables for task in made[table]()]


def _refuse(reason: str) -> Callable[[], dict[str, Any]]:
    return lambda: {"refused": reason}


def _loops(place: Place, seconds: float) -> list[Task]:
    package = "tflite_runtime" if "runtime" in place.wheels else "ai_edge_litert"
    paths = [place.wheels["runtime"]] if "runtime" in place.wheels else []

    def task(loop: str, source: str, threads: str) -> Task:
        given = (loop, source, THREADS[threads], seconds, package)
        run = lambda: setting.child("deploy.peers.shapes", given, paths=paths)  # noqa: E731
        return Task("loops", (loop, source, threads), run)

    return [
        task(loop, source, threads)
        for source, loops in SOURCES.items()
        for threads in (THREADS if source == "memory" else ["1"])
        for loop in loops
    ]


def _runtimes(place: Place, seconds: float) -> list[Task]:
    files = {"int8": MODEL, "int8, ONNX": place.int8, "float, ONNX": place.floats}
    expected = setting.expected()

    def task(runtime: str, network: str, threads: str) -> Task:
        key = (runtime, network, threads)
        needs = {"ours": "runtime", "opencv": "networks"}.get(runtime, "peers")
        if reason := place.missing.get(needs, place.missing.get("peers", "")):
            return Task("runtimes", key, _refuse(reason))
        package = "tflite_runtime" if runtime == "ours" else runtime
        paths = [place.wheels["runtime"]] if runtime == "ours" else []
        given = (package, files[network], place.inputs, THREADS[threads], seconds)
        python = None if runtime == "opencv" else place.python

        def run() -> dict[str, Any]:
            found = setting.child("deploy.peers.runtimes", given, python, paths)
            said = found.pop("said", expected)
            wrong = sum(one != other for one, other in zip(said, expected, strict=True))
            if wrong:
                return {"refused": f"another label for {wrong} of {len(expected)} pictures"}
            return found

        return Task("runtimes", key, run)

    return [
        task(runtime, network, threads)
        for runtime, network in RUNTIMES
        for threads in (["1"] if runtime == "opencv" and network != "float, ONNX" else THREADS)
    ]


def _programs(place: Place, folder: Path, stack: contextlib.ExitStack) -> list[Task]:
    lacking = "; ".join(place.missing[name] for name in ("runtime", "opencv")
                        if name in place.missing)  # fmt: skip
    bench = daemons.Bench(folder, place.wheels)
    reason = ""
    try:
        stack.enter_context(bench.running())
    except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as exc:
        reason = str(exc)

    def task(program: daemons.Program) -> Task:
        key = (program.film, program.kind, program.wheels)
        why = reason or (lacking if program.wheels == "ours" else "")
        run = _refuse(why) if why else lambda: bench.measure(program, PROGRAM_S)
        return Task("programs", key, run, every=2)

    return [task(program) for program in daemons.PROGRAMS]


def _emulated(folder: Path) -> list[Task]:
    try:
        machine = emulated.Emulated(folder)
    except (BuildError, OSError) as exc:
        return [Task("emulated", (loop,), _refuse(str(exc))) for loop in LOOPS]

    def task(loop: str) -> Task:
        return Task("emulated", (loop,), lambda: machine.measure(loop), every=ONCE)

    return [task(loop) for loop in ("invoke", *(name for name in LOOPS if name != "invoke"))]
