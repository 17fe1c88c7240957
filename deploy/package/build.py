"""``make deb``: the Debian package, written to build/dist.

    python3 -m deploy.package.build [--arch arm64] [--suite trixie] [--runtime WHEEL|pypi]
                                    [--opencv WHEEL|pypi|debian] [--check]

Steps: check arguments and tools, fetch the wheels that PyPI has, lay out everything beside a copy
of deploy/debian, pack it with debhelper, check it with lintian. No program of the target runs.
The same sources give the same bytes: dates are the last commit's.

Runs on Debian's own python3, without this project's packages.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Final

from deploy.package import carried, depends, manual, opencv
from deploy.runtime.pins import ARCHES, EPOCH, HERE, TRIPLES, BuildError
from edge import __version__
from edge.text import escaped

ROOT: Final = HERE.parents[1]
DIST: Final = ROOT / "build" / "dist"
SUITES: Final = {"bookworm": ("3.11", "deb12"), "trixie": ("3.13", "deb13")}
"""Suite -> Python's version, and the end of the package's version: newer suites sort later."""
MULTIPART: Final = {"bookworm": "python3-multipart", "trixie": "python3-python-multipart"}
"""Suite -> the package of python-multipart; trixie's python3-multipart is another library."""
PYPI: Final = "pypi"
"""The runtime's name for PyPI's TensorFlow Lite, in place of a wheel of `make runtime`."""
TOOLS: Final = {
    "dpkg-buildpackage": "dpkg-dev",
    "dh": "debhelper",
    "dh_python3": "dh-python",
    "readelf": "binutils",
    "shtab": "python3-shtab",
}
"""Program -> the Debian package that contains it."""
LINTER: Final = {"lintian": "lintian"}
"""The same, for a package whose files are all ours."""


def main(arguments: Sequence[str]) -> int:
    """Build; return the exit status, after one line on an error."""
    parser = argparse.ArgumentParser(prog="make deb", allow_abbrev=False)
    parser.add_argument("--arch", default="arm64")
    parser.add_argument("--suite", default="trixie")
    parser.add_argument("--runtime", default="", help="a wheel, or pypi; default: make runtime's")
    parser.add_argument(
        "--opencv", default="", help="a wheel, pypi or debian; default: make opencv's"
    )
    parser.add_argument("--check", action="store_true", help="check the arguments, build nothing")
    args = parser.parse_args(arguments)
    try:
        check(args.arch, args.suite, args.runtime)
        opencv.check(args.opencv, args.arch)
        if args.check:
            return 0
        path = build(args.arch, args.suite, args.runtime, args.opencv)
        print(f"package: {path.relative_to(ROOT)} ({path.stat().st_size:,} bytes)", flush=True)
        if args.runtime or args.opencv == opencv.PYPI:
            print("lintian: left out, since the wheel's files are not ours", flush=True)
        else:
            lint(path, path.with_name(f"edge-camera-web_{path.name.split('_')[1]}_all.deb"))
    except BuildError as exc:
        print(escaped(f"package: {exc}"), file=sys.stderr)
        return exc.status
    except OSError as exc:
        print(escaped(f"package: {exc}"), file=sys.stderr)
        return 74
    return 0


def check(arch: str, suite: str, runtime: str) -> None:
    """Raise BuildError where no package can be built from these arguments."""
    if arch not in ARCHES:
        raise BuildError(64, "unsupported ARCH", expected=" or ".join(ARCHES), got=arch)
    if suite not in SUITES:
        raise BuildError(64, "unsupported SUITE", expected=" or ".join(SUITES), got=suite)
    if runtime == PYPI:
        carried.on_pypi(arch, SUITES[suite][0])
    elif runtime:
        carried.check(Path(runtime), arch, SUITES[suite][0])


def missing(
    arch: str, which: Callable[[str], str | None] = shutil.which, *, lint: bool = True
) -> dict[str, str]:
    """Return the missing programs, each with the Debian package that contains it."""
    triple = TRIPLES[arch]
    name = triple.replace("_", "-")
    tools = {f"{triple}-strip": f"binutils-{name}", **TOOLS, **(LINTER if lint else {})}
    if arch in carried.FROM_SOURCE:
        tools[f"{triple}-gcc"] = f"gcc-{name}"
    return {program: package for program, package in tools.items() if not which(program)}


def build(arch: str, suite: str, runtime: str = "", vision: str = "") -> Path:
    """Return the path of the package for ``arch`` and ``suite``, which ``check`` has passed.

    runtime  the wheel of TensorFlow Lite to include: a file, PYPI, or empty for `make runtime`'s
    vision   the OpenCV, as ``opencv.check`` takes it
    """
    absent = missing(arch, lint=not runtime)
    if absent:
        raise BuildError(
            69,
            "a tool is missing",
            got=", ".join(sorted(absent)),
            hint=f"apt-get install {' '.join(sorted(set(absent.values())))}",
        )
    (python, end), here = SUITES[suite], ROOT / "build" / "package"
    if runtime == PYPI:
        wheel = carried.tested(carried.LITERT, arch, python, here)
    else:
        wheel = Path(runtime) if runtime else carried.runtime(arch, python, DIST)
    seeing = opencv.wheel(vision, arch, python, here, DIST)
    files = [wheel, *([seeing] if seeing else []), *carried.from_pypi(arch, python, here)]
    folder = here / f"{suite}-{arch}" / "edge-camera"
    shutil.rmtree(folder.parent, ignore_errors=True)
    lay_out(folder)
    private = folder / "private"
    carried.lay_out(files, private, folder / "carried", arch, python)
    generate(folder / "generated")
    version = f"{__version__}~{end}"
    needed = depends.libraries(private, suite) + ("" if seeing else ", python3-opencv")
    debian(folder / "debian", version, suite, python, needed)
    return pack(folder, version, arch)


def lay_out(folder: Path) -> None:
    """Copy the files of this repository that are packed, or read while packing."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("deploy", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.move(folder / "deploy" / "debian", folder / "debian")
    shutil.copytree(ROOT / "edge", folder / "private" / "edge", ignore=ignored)
    for model in models():
        shutil.copytree(model, folder / "private" / "edge" / model.name, ignore=ignored)
    shutil.copy(ROOT / "README.md", folder)


def models() -> list[Path]:
    """Return the folder of every model that is packed: each in models/ that has a card.

    pyproject.toml puts the same folders into the wheel.
    """
    return sorted(card.parent for card in (ROOT / "models").glob("*/model.toml"))


def generate(folder: Path) -> None:
    """Write the files generated from the command line's parser: manual pages and completions."""
    folder.mkdir()
    for name, text in manual.pages(epoch()).items():
        (folder / name).write_text(text)
    for shell, file in (("bash", "edge"), ("zsh", "_edge")):
        (folder / shell).mkdir()
        command = [sys.executable, "-m", "deploy.package.completion", shell]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        if done.returncode:
            raise BuildError(70, "completion failed", where=shell, got=done.stderr.splitlines()[-1])
        (folder / shell / file).write_text(done.stdout)


def debian(folder: Path, version: str, suite: str, python: str, needed: str) -> None:
    """Add the files that depend on version and suite to a copy of deploy/debian."""
    major, _, minor = python.partition(".")
    exactly = f"python3 (>= {python}), python3 (<< {major}.{int(minor) + 1})"
    (folder / "target.mk").write_text(
        f"PYTHON = {python}\nPYTHON_DEPENDS = {exactly}\nLIBRARIES = {needed}\n"
        f"MULTIPART = {MULTIPART[suite]}\n"
    )
    for unit in ("edge-camera.service", "edge-camera-web.service", "edge-camera-web.socket"):
        shutil.copy(ROOT / "deploy" / "systemd" / unit, folder)
    control = (folder / "control").read_text()
    maintainer = control.split("\nMaintainer: ")[1].partition("\n")[0]
    (folder / "changelog").write_text(
        f"edge-camera ({version}) {suite}; urgency=medium\n\n"
        + changes((ROOT / "CHANGELOG.md").read_text())
        + f"\n -- {maintainer}  {formatdate(epoch())}\n"
    )


def changes(text: str) -> str:
    """Return the newest section of CHANGELOG.md as the body of Debian's."""
    section = text.split("\n## ")[1].partition("\n")[2]
    entries = re.split(r"^- ", section, flags=re.M)[1:]
    wrap = textwrap.TextWrapper(78, initial_indent="  * ", subsequent_indent="    ")
    return "".join(wrap.fill(" ".join(entry.split())) + "\n" for entry in entries)


def epoch() -> int:
    """Return the date of every file in the package: the last commit's, or the runtime's."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ("git", "-c", f"safe.directory={ROOT}", "log", "-1", "--format=%ct")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    except OSError:
        return EPOCH
    return int(done.stdout) if done.stdout.strip() else EPOCH


def pack(folder: Path, version: str, arch: str) -> Path:
    """Pack both packages with debhelper; return the daemon's path in build/dist."""
    log = folder.with_name("build.log")
    command = ["dpkg-buildpackage", "--build=binary", "--no-sign", "--no-check-builddeps"]
    print(f"package: packing, log in {log.relative_to(ROOT)}", flush=True)
    with log.open("w") as stream:
        done = subprocess.run(
            [*command, f"--host-arch={arch}"],
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
            cwd=folder,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch()), "LC_ALL": "C.UTF-8"},
        )
    if done.returncode:
        lines = [line for line in log.read_text("utf-8", "replace").splitlines() if "rror" in line]
        raise BuildError(
            70,
            "dpkg-buildpackage failed",
            where=str(log.relative_to(ROOT)),
            got=(lines or [f"status {done.returncode}"])[0],
        )
    DIST.mkdir(parents=True, exist_ok=True)
    for name in (f"edge-camera-web_{version}_all.deb", f"edge-camera_{version}_{arch}.deb"):
        made = shutil.copy(folder.with_name(name), DIST / name)
    return Path(made)


def lint(*paths: Path) -> None:
    """Print lintian's findings; raise BuildError where one is an error."""
    command = ["lintian", "--fail-on=error", "--tag-display-limit=0", "--allow-root"]
    done = subprocess.run([*command, *paths], capture_output=True, text=True, check=False)
    for line in done.stdout.strip().splitlines() or ["lintian: no findings"]:
        print(escaped(line), flush=True)
    if done.returncode:
        raise BuildError(70, "lintian found errors", got=f"status {done.returncode}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
