"""The Python packages inside the Debian package, in its private folder.

Rule 1: what comes from PyPI is pinned with its checksum in deploy/lock, and is fetched once.
Rule 2: no program of the target runs: pip selects the files by the target's tags.

PyPI has no msgspec for 32-bit ARM: there its C file is compiled here, from the pinned source,
with the headers that `make runtime` pins. Knows nothing of Debian's packages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.runtime.fetch import fetch
from deploy.runtime.pins import ARCHES, HERE, TRIPLES, VERSION, BuildError, sha256, sources

ROOT: Final = HERE.parents[1]
LOCK: Final = ROOT / "deploy" / "lock" / "package.txt"
BACKEND: Final = LOCK.with_name("package-backend.txt")
TESTED: Final = LOCK.with_name("dev.txt")
"""Pins PyPI's TensorFlow Lite and OpenCV: those that the tests run on."""
LITERT: Final = "ai-edge-litert"
"""TensorFlow Lite's project on PyPI."""
PIP: Final = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
KEPT: Final = ("METADATA", "WHEEL")
"""The files of a wheel's metadata that are needed to read its version."""
FROM_SOURCE: Final = {"armhf": "msgspec"}
ON_PYPI: Final = ("amd64", "arm64")
"""Architectures that PyPI has TensorFlow Lite for."""
WHEEL: Final = re.compile(
    r"(?:tflite_runtime|ai_edge_litert)-[^-]+-(?P<python>[^-]+)-[^-]+-(?P<platform>[^-]+)\.whl"
)


def runtime(arch: str, python: str, folder: Path) -> Path:
    """Return the wheel of `make runtime` in ``folder``."""
    tag = "cp" + python.replace(".", "")
    name = f"tflite_runtime-{VERSION}-{tag}-{tag}-manylinux_*_{ARCHES[arch]}.whl"
    wheels = sorted(folder.glob(name))
    if not wheels:
        raise BuildError(
            69,
            "no wheel of TensorFlow Lite",
            where=str(folder),
            expected=name,
            got="none",
            hint=f"run `make runtime ARCH={arch} PY={python}` first: a quarter of an hour"
            + ("; or take PyPI's: WHEEL=pypi" if arch in ON_PYPI else ""),
        )
    return wheels[-1]


def check(wheel: Path, arch: str, python: str) -> None:
    """Raise BuildError unless ``wheel`` is TensorFlow Lite for ``arch`` and ``python``."""
    if not wheel.is_file():
        raise BuildError(65, "no such wheel", where=str(wheel))
    tag = "cp" + python.replace(".", "")
    tags = WHEEL.fullmatch(wheel.name)
    if not tags or not zipfile.is_zipfile(wheel):
        expected = f"tflite_runtime-*-{tag}-{tag}-*_{ARCHES[arch]}.whl or ai_edge_litert's"
        raise BuildError(65, "not a wheel of TensorFlow Lite", where=str(wheel), expected=expected)
    if not any(one.endswith(f"_{ARCHES[arch]}") for one in tags["platform"].split(".")):
        what, expected, got = "architecture", ARCHES[arch], tags["platform"]
    elif tag not in tags["python"].split("."):
        what, expected, got = "Python", tag, tags["python"]
    else:
        return
    raise BuildError(
        65, f"a wheel for another {what}", where=str(wheel), expected=expected, got=got
    )


def on_pypi(arch: str, python: str) -> None:
    """Raise BuildError where PyPI has no TensorFlow Lite for ``arch``."""
    if arch not in ON_PYPI:
        raise BuildError(
            69,
            f"PyPI has no TensorFlow Lite for {arch}",
            hint=f"on Debian 12: `make runtime ARCH={arch} PY={python}`; bring the wheel here and"
            " name it: WHEEL=FILE",
        )


def tested(project: str, arch: str, python: str, folder: Path) -> Path:
    """Return PyPI's wheel of ``project``, which the tests run on; fetched if absent."""
    pin = re.search(rf"^{project}==.*?(?=^\S|\Z)", TESTED.read_text(), re.M | re.S)
    if pin is None:
        raise BuildError(70, f"{project} is not pinned", where=str(TESTED))
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / f"{project}.txt"
    lock.write_text(pin[0])
    return _download(lock, arch, python, folder / f"{project}-{arch}-{python}")[0]


def from_pypi(arch: str, python: str, folder: Path) -> list[Path]:
    """Return the pinned files for ``arch`` and ``python``; fetched if absent."""
    return _download(LOCK, arch, python, folder / f"pypi-{arch}-{python}")


def _download(lock: Path, arch: str, python: str, folder: Path) -> list[Path]:
    """Return the files in ``folder`` that ``lock`` pins; fetched if absent."""
    done = folder / ".complete"
    if not (done.exists() and done.read_text() == sha256(lock)):
        print(f"package: fetching {lock.stem} files from PyPI", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        options = ["--no-deps", "--require-hashes", f"--dest={folder}", f"--requirement={lock}"]
        if arch in FROM_SOURCE:
            backend = folder.with_name("backend")
            shutil.rmtree(backend, ignore_errors=True)
            _pip("install", "--require-hashes", f"--target={backend}", f"--requirement={BACKEND}")
            only = f"--no-binary={FROM_SOURCE[arch]}"
            _pip("download", only, "--no-build-isolation", *options, path=backend)
        else:
            tags = [f"--platform=manylinux_2_{minor}_{ARCHES[arch]}" for minor in (17, 27, 28, 34)]
            version = [f"--python-version={python}", "--implementation=cp"]
            abi = ["--abi=cp" + python.replace(".", ""), "--abi=abi3", "--abi=none"]
            _pip("download", "--only-binary=:all:", *tags, *version, *abi, *options)
        done.write_text(sha256(lock))
    return sorted(path for path in folder.iterdir() if path != done)


def lay_out(files: Sequence[Path], private: Path, papers: Path, arch: str, python: str) -> None:
    """Unpack ``files`` into ``private``, their licences and bills of materials into ``papers``."""
    for file in files:
        if file.suffix == ".whl":
            _wheel(file, private, papers)
        else:
            _sdist(file, private, papers, arch, python)


def _wheel(file: Path, private: Path, papers: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            if name.endswith("/"):
                continue
            top, _, rest = name.partition("/")
            if not top.endswith(".dist-info") or rest in KEPT:
                _write(private / name, archive.read(name))
            elif rest.startswith(("licenses/", "sboms/")):
                _write(papers / top.partition("-")[0] / rest.partition("/")[2], archive.read(name))


def _sdist(file: Path, private: Path, papers: Path, arch: str, python: str) -> None:
    """Unpack a source archive of one C file and Python files."""
    top = file.name.removesuffix(".tar.gz")
    name, _, version = top.rpartition("-")
    work = private.with_name("compiled")
    work.mkdir()
    _run(["tar", "-xzf", str(file), "-C", str(work)], BuildError(65, "tar failed"))
    source = work / top / "src" / name
    tag = "cpython-" + python.replace(".", "")
    extension = private / name / f"_core.{tag}-{TRIPLES[arch]}.so"
    for path in source.glob("*.py"):
        _write(private / name / path.name, path.read_bytes())
    _write(papers / name / "LICENSE", (work / top / "LICENSE").read_bytes())
    record = private / f"{name}-{version}.dist-info" / "METADATA"
    _write(record, (work / top / "PKG-INFO").read_bytes())
    _compile(source / "_core.c", extension, _headers(arch, python, work), arch, python)
    shutil.rmtree(work)


def _headers(arch: str, python: str, root: Path) -> Path:
    """Unpack the target's Python headers below ``root`` and return their folder."""
    fetched = ROOT / "build" / "runtime" / "fetched"
    pinned = [source for source in sources(arch) if source.name == f"python{python}"]
    fetch(pinned, fetched)
    package = str(fetched / pinned[0].file)
    _run(["dpkg-deb", "-x", package, str(root)], BuildError(65, "dpkg-deb failed"))
    return root / "usr" / "include"


def _compile(source: Path, extension: Path, headers: Path, arch: str, python: str) -> None:
    """Compile as the package's own setup.py does, with Debian's hardening."""
    command = [
        *(f"{TRIPLES[arch]}-gcc", "-shared", "-fPIC", "-O2", "-g0", "-DNDEBUG", "-fwrapv"),
        *("-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", "-Wl,-z,relro,-z,now"),
        *(f"-I{headers}", f"-I{headers / f'python{python}'}"),
        *(source.name, "-lm", "-o", str(extension)),
    ]
    _run(command, BuildError(70, "compiling failed", where=source.name), folder=source.parent)


def _pip(*arguments: str, path: Path | None = None) -> None:
    environment = {**os.environ, "PIP_NO_INPUT": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    if path:
        environment["PYTHONPATH"] = str(path)
    fault = BuildError(69, "PyPI lacks a pinned file", where="deploy/lock")
    away = BuildError(69, "PyPI cannot be reached", hint="is the network up?")
    _run([*PIP, *arguments], fault, environment=environment, away=away)


def _run(
    command: Sequence[str],
    fault: BuildError,
    folder: Path | None = None,
    environment: dict[str, str] | None = None,
    away: BuildError | None = None,
) -> None:
    """Run ``command``; if it fails, raise ``fault`` with its first error line.

    away  raised instead where pip could not connect
    """
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=environment
    )
    if done.returncode:
        if away and "Retrying (" in done.stderr:
            raise away
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        reason = (lines or done.stderr.splitlines() or [f"status {done.returncode}"])[0]
        raise BuildError(fault.status, str(fault), got=reason)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
