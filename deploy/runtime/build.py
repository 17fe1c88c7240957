"""``make runtime``: from pinned sources to wheels in build/dist.

    python3 -m deploy.runtime.build [--arch arm64] [--python 3.11] [--sources DIR] [--tools]
                                    [--check]

Steps: check this machine, fetch, unpack, compile, check the result, write the wheels. Each step
does only what is not done yet, so an interrupted build continues. Only `fetch` uses the network.

Runs on Debian's own python3, without this project's packages. Knows the order of the steps, and
nothing of what is inside them.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from deploy.runtime import elf, wheel
from deploy.runtime.compiling import ROOT, epoch, logged
from deploy.runtime.elf import NEWEST_GLIBC
from deploy.runtime.fetch import fetch
from deploy.runtime.pins import (
    ARCHES,
    HERE,
    PYTHONS,
    TRIPLES,
    BuildError,
    Source,
    no_space,
    sources,
)
from deploy.runtime.unpack import texts, unpack
from edge.text import escaped

SPACE_BYTES: Final = 1_500_000_000
"""The most that a build needs, for one architecture, with the sources."""
TOOLS: Final = {
    "cmake": "cmake",
    "ninja": "ninja-build",
    "tar": "tar",
    "xz": "xz-utils",
    "bzip2": "bzip2",
    "patch": "patch",
    "dpkg-deb": "dpkg",
    "readelf": "binutils",
}
"""Program -> the Debian package that contains it."""
PROGRAMS: Final = ("benchmark_model", "label_image")
"""The programs of `make runtime-tools`."""


def main(arguments: Sequence[str]) -> int:
    """Build; return the exit status, after one line on an error."""
    parser = argparse.ArgumentParser(prog="make runtime", allow_abbrev=False)
    parser.add_argument("--arch", default="arm64")
    parser.add_argument("--python", default="")
    parser.add_argument("--sources", type=Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--tools", action="store_true")
    parser.add_argument("--check", action="store_true", help="check this machine, build nothing")
    args = parser.parse_args(arguments)
    try:
        pythons = choose(args.arch, args.python)
        if not args.tools:
            check_glibc()
        if args.check:
            return 0
        for path in build(args.arch, pythons, args.sources, args.jobs, tools=args.tools):
            print(f"runtime: {path.relative_to(ROOT)} ({path.stat().st_size:,} bytes)")
    except BuildError as exc:
        print(escaped(f"runtime: {exc}"), file=sys.stderr)
        return exc.status
    except OSError as exc:
        where = str(ROOT / "build")
        full = exc.errno == errno.ENOSPC
        print(escaped(f"runtime: {no_space(where) if full else exc}"), file=sys.stderr)
        return 74
    return 0


def choose(arch: str, python: str) -> tuple[str, ...]:
    """Return the Pythons to build for; raise BuildError where ARCH or PY is not supported."""
    if arch not in ARCHES:
        raise BuildError(64, "unsupported ARCH", expected=" or ".join(ARCHES), got=arch)
    if python and python not in PYTHONS:
        raise BuildError(64, "unsupported PY", expected=" or ".join(PYTHONS), got=python)
    return (python,) if python else PYTHONS


def check_glibc(version: str | None = os.confstr("CS_GNU_LIBC_VERSION")) -> None:
    """Raise BuildError where a wheel compiled here would need a newer glibc than Debian 12's.

    version  this machine's, as `glibc 2.36`; compiling here binds its newest symbols
    """
    numbers = tuple(int(number) for number in re.findall(r"\d+", version or "")[:2])
    if numbers > NEWEST_GLIBC:
        raise BuildError(
            69,
            "this system is too new to build wheels that Debian 12 can load",
            expected="glibc {}.{} or older".format(*NEWEST_GLIBC),
            got=version or "",
            hint="build in a machine, container or chroot with Debian 12",
        )


def missing(arch: str, which: Callable[[str], str | None] = shutil.which) -> dict[str, str]:
    """Return the missing programs, each with the Debian package that contains it."""
    compiler = "g++" if arch == "amd64" else f"g++-{TRIPLES[arch]}"
    pinned = {f"{TRIPLES[arch]}-g++": compiler, **TOOLS}
    return {program: package for program, package in pinned.items() if not which(program)}


def require(absent: dict[str, str]) -> None:
    """Raise BuildError, which names the packages to install, unless ``absent`` is empty."""
    if absent:
        packages = " ".join(sorted(set(absent.values())))
        raise BuildError(
            69,
            "a tool is missing",
            got=", ".join(sorted(absent)),
            hint=f"apt-get install {packages}",
        )


def check_space(folder: Path, needed: int) -> None:
    """Raise BuildError where less than ``needed`` bytes are free in ``folder``."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BuildError(
            74,
            "not enough space",
            where=str(folder),
            expected=f"{needed:,} bytes",
            got=f"{free:,}",
        )


def build(
    arch: str,
    pythons: Sequence[str],
    folder: Path | None,
    jobs: int,
    *,
    tools: bool = False,
) -> list[Path]:
    """Build; return the paths of the wheels, or with ``tools`` of the native programs."""
    require(missing(arch))
    here = ROOT / "build" / "runtime"
    here.mkdir(parents=True, exist_ok=True)
    objects = here / arch / "objects"
    if not objects.exists():
        check_space(here, SPACE_BYTES)
    pinned = sources(arch)
    fetch(pinned, here / "fetched", folder)
    root = here / arch / "root"
    unpack(pinned, here / "fetched", here / "sources", root, arch)
    licences = texts(pinned, here / "sources", root)
    targets = PROGRAMS if tools else tuple("cp" + python.replace(".", "") for python in pythons)
    compile_all(arch, here / "sources", root, objects, targets, jobs)
    if tools:
        return [programs(objects, name, arch) for name in PROGRAMS]
    words = {
        name: [(path.name, path.read_bytes()) for path in paths] for name, paths in licences.items()
    }
    return [one_wheel(arch, python, here, objects, pinned, words) for python in pythons]


def compile_all(
    arch: str, folder: Path, root: Path, objects: Path, targets: Sequence[str], jobs: int
) -> None:
    """Configure if necessary, then compile ``targets``; both write objects/build.log."""
    objects.mkdir(parents=True, exist_ok=True)
    log = objects.with_name("build.log")
    configure = [
        *("cmake", "-G", "Ninja", "-S", str(HERE), "-B", str(objects)),
        "-DCMAKE_BUILD_TYPE=Release",
        f"-DCMAKE_TOOLCHAIN_FILE={HERE / 'toolchain' / f'{arch}.cmake'}",
        f"-DRUNTIME_SOURCES={folder}",
        f"-DRUNTIME_ROOT={root}",
        f"-DRUNTIME_PYTHONS={';'.join(PYTHONS)}",
        f"-DPython_EXECUTABLE={sys.executable}",
        "-DFETCHCONTENT_FULLY_DISCONNECTED=ON",
    ]
    print(f"runtime: compiling for {arch}, log in {log.relative_to(ROOT)}", flush=True)
    logged((configure, ["ninja", "-C", str(objects), f"-j{jobs}", *targets]), log)


def programs(objects: Path, name: str, arch: str) -> Path:
    """Copy a native program to the wheels' folder and return its path."""
    built = next(path for path in objects.rglob(name) if path.is_file())
    folder = ROOT / "build" / "dist" / f"tools-{arch}"
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy2(built, folder / name))


def one_wheel(
    arch: str,
    python: str,
    here: Path,
    objects: Path,
    pinned: Sequence[Source],
    licences: dict[str, list[tuple[str, bytes]]],
) -> Path:
    """Check the extension for ``python`` and write its wheel."""
    extension = objects / ("cp" + python.replace(".", "")) / wheel.EXTENSION
    platform = elf.platform_tag(elf.needs(extension), arch)
    upstream = here / "sources" / "tensorflow" / "tensorflow" / "lite" / "python"
    modules = {Path(name).name: (upstream / name).read_bytes() for name in wheel.MODULES}
    own = [
        one for one in pinned if not one.name.startswith("python") or one.name == "python" + python
    ]
    files = wheel.contents(
        python, platform, extension.read_bytes(), modules, own, licences, arch, epoch()
    )
    return wheel.write(ROOT / "build" / "dist", python, platform, files, epoch())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
