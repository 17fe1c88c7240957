"""The tables in docs/runtime.md: our runtime beside PyPI's, emulated, counted and modelled.

    python -m deploy.runtime.measure [--networks DIR] [--write]

For each runtime and network: instructions of one warm invoke, and with 64 bits modelled Cortex-A72
cycles and bytes moved; sizes; instructions to import; resident memory; for the shipped model also
the kernels that ran. One thread. --write puts the tables into docs/runtime.md between their marks;
without it they go to stdout. A missing network is LEFT OUT, and its table stays.

Knows how to run and to format, nothing of plugins and models inside.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.runtime import kernels, model_a72
from deploy.runtime.emulated import Guest, make_root
from deploy.runtime.peers import EMULATED, ROOT, Runtime, runtimes
from deploy.runtime.pins import HERE, BuildError

BUILD: Final = ROOT / "build" / "runtime"
PAGE: Final = ROOT / "docs" / "runtime.md"
MEMORY_RUNS: Final = 5
PHASES: Final = ("python", "import", None, "load", None, "first", None, None, None, "warm")
"""The phases that the guest's marks end, in order."""
NO_HUGE_PAGES: Final = 41
"""prctl, inherited: QEMU requests huge pages, and a neighbouring mapping gets them by chance."""
GETPPID: Final = {"arm64": 173, "armhf": 64}
Networks = Sequence[tuple[str, Path]]


@dataclass(frozen=True, slots=True)
class Row:
    """The cost of one runtime on one network.

    instructions  by phase
    blocks        of the last invoke, for 64 bits; none for 32, whose instructions have two sizes
    base          address that the runtime's extension was loaded at
    """

    instructions: dict[str, int]
    blocks: tuple[model_a72.Block, ...]
    base: int


def plugin() -> Path:
    """Return count.c compiled for this machine."""
    path = BUILD / "count.so"
    source = HERE / "count.c"
    if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
        command = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(path), str(source)]
        subprocess.run(command, check=True)
    return path


def measure(guest: Guest, runtime: Runtime, network: Path, *, delegate: bool = True) -> Row:
    """Return the cost of ``runtime`` on ``network``; without ``delegate``, of TFLite's kernels."""
    blocks = BUILD / "blocks"
    package = runtime.package if delegate else f"{runtime.package}:plain"
    done = guest.run(
        [str(HERE / "guest.py"), "marks", package, str(network)],
        runtime.paths,
        ["-plugin", f"{plugin()},blocks={blocks},mark={GETPPID[guest.arch]}"],
    )
    marks = [int(number) for number in re.findall(r"MARK (\d+)", done.stderr)]
    if done.returncode or len(marks) != len(PHASES):
        raise BuildError(
            70, f"{runtime.title} does not run", where=str(network), got=done.stderr[-200:]
        )
    counted = {name: mark for name, mark in zip(PHASES, marks, strict=True) if name}
    found = model_a72.read(blocks) if guest.arch == "arm64" else []
    return Row(counted, tuple(found), json.loads(done.stdout.splitlines()[-1])["base"])


def memory(guest: Guest, runtime: Runtime, network: Path) -> dict[str, float]:
    """Return resident bytes by phase, as medians: the kernel's read-ahead varies."""
    command = [str(HERE / "guest.py"), "marks", runtime.package, str(network)]
    found = [
        json.loads(guest.run(command, runtime.paths).stdout.splitlines()[-1])
        for _ in range(MEMORY_RUNS)
    ]
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines).replace("| --- ", "|---")


def millions(number: float) -> str:
    """Return instructions or cycles as the tables write them."""
    return f"{number / 1e6:.1f} M"


def megabytes(number: float, digits: int = 1) -> str:
    """Return bytes as the tables write them."""
    return f"{number / 1e6:.{digits}f} MB"


def speed(guest: Guest, found: Sequence[Runtime], networks: Networks) -> tuple[str, list[Row]]:
    """Return the table of one warm invoke, and the rows of the first network."""
    rows, first = [], []
    for title, path in networks:
        for runtime in found:
            row = measure(guest, runtime, path)
            first += [row] if path == networks[0][1] else []
            cells = [title, runtime.title, millions(row.instructions["warm"])]
            if row.blocks:
                spent = model_a72.cost(row.blocks)
                cells += [millions(spent.cycles), megabytes(spent.loaded), megabytes(spent.stored)]
            rows.append(cells)
            print(cells, file=sys.stderr, flush=True)
        if guest.arch == "armhf" and "uint8" in title:
            plain = measure(guest, found[0], path, delegate=False)
            count = millions(plain.instructions["warm"])
            rows.append([title, f"{found[0].title}, without XNNPACK", count])
    titles = ["network", "runtime", "instructions", "modelled cycles", "loaded", "stored"]
    return table(titles[: len(rows[0])], rows), first


def sizes(guest: Guest, found: Sequence[Runtime], first: Sequence[Row], network: Path) -> str:
    """Return the table of sizes, of the start, and of memory."""
    rows = []
    for runtime, row in zip(found, first, strict=True):
        rows.append(
            [
                runtime.title,
                megabytes(runtime.shared_object_bytes(), 2),
                megabytes(runtime.installed_bytes(), 2),
                millions(row.instructions["import"]),
                millions(row.instructions["first"]),
            ]
        )
        if guest.arch == "arm64":  # see guest_rss_bytes
            rss_bytes = memory(guest, runtime, network)
            rows[-1] += [megabytes(rss_bytes[name]) for name in ("imported", "loaded", "invoked")]
    titles = ["runtime", "shared objects", "installed, without NumPy", "import", "first invoke"]
    titles += ["memory: imported", "loaded", "after the first invoke"]
    return table(titles[: len(rows[0])], rows)


def sections(arch: str, networks: Networks) -> dict[str, str]:
    """Return the tables for ``arch``, by the names of their marks in the page."""
    guest = make_root(EMULATED, "bookworm", arch)
    compared = runtimes(guest)
    fast, first = speed(guest, compared, networks)
    made = {f"measured {arch}": f"{fast}\n{sizes(guest, compared, first, networks[0][1])}"}
    if arch == "arm64":
        link_map = BUILD / arch / "objects" / "cp311.map"
        shares = kernels.shares(first[0].blocks, first[0].base, link_map)
        made["kernels"] = table(
            ["layers", "kernel", "instructions", "modelled cycles", "share"],
            [
                [one.layers, one.kernel, millions(one.instructions), millions(one.cycles)]
                + [f"{100 * one.share:.1f} %"]
                for one in shares
            ],
        )
    return made


def main() -> int:
    """Measure everything."""
    parser = argparse.ArgumentParser(prog="deploy.runtime.measure")
    parser.add_argument("--networks", type=Path, default=BUILD / "networks")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    networks = [
        (f"{name}, int8", ROOT / "models" / name / "model.tflite")
        for name in ("catdog", "catdog-large")
    ]
    for kind in ("int8", "uint8", "float"):
        path = args.networks / f"{kind}.tflite"
        if path.exists():
            networks.append((f"MobileNetV2 1.0, {kind}", path))
        else:
            print(f"measure: LEFT OUT: {path}, see deploy/runtime/networks.py", file=sys.stderr)
    ctypes.CDLL(None).prctl(NO_HUGE_PAGES, 1, 0, 0, 0)
    status = 0
    for arch in GETPPID:
        try:
            made = sections(arch, networks)
        except BuildError as exc:
            print(f"measure: LEFT OUT: {arch}: {exc}", file=sys.stderr)
            status = exc.status
            continue
        for name, text in made.items():
            if args.write:
                page = PAGE.read_text()
                before, rest = page.split(f"<!-- {name}: begin -->\n")
                _, after = rest.split(f"<!-- {name}: end -->")
                PAGE.write_text(
                    f"{before}<!-- {name}: begin -->\n{text}<!-- {name}: end -->{after}"
                )
            else:
                print(text)
    return status


if __name__ == "__main__":
    sys.exit(main())
