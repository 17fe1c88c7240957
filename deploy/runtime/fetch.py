"""Downloads of the pinned files, from apt's mirror or PyPI, or copies from a folder.

Rule 1: no file with another checksum is kept.
Rule 2: a file that exists with the right checksum is not fetched again.
Rule 3: no host is named here: apt names its mirror, and apt's own downloader (with its proxies and
        credentials) fetches the file. No index is read and nothing is installed. What only PyPI
        has comes through pip, with its configuration.

Knows nothing of the files' purpose.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from deploy.runtime.pins import FULL, BuildError, Source, check, no_space, sha256

APT_HELPER: Final = "/usr/lib/apt/apt-helper"
TARGETS: Final = ("apt-get", "indextargets", "--format", "$(SITE) $(ORIGIN) $(LABEL)")
"""Prints apt's configuration, one line per index: `http://... Debian Debian`."""


def mirror(targets: str) -> str:
    """Return the first Debian archive in apt's list of ``targets``."""
    for line in targets.splitlines():
        site, _, label = line.partition(" ")
        if label == "Debian Debian":
            return site.rstrip("/")
    raise BuildError(
        69,
        "apt has no Debian archive here",
        hint="run `apt-get update` on Debian, or give the files with SOURCES=DIR",
    )


def fetch(pinned: Iterable[Source], folder: Path, given: Path | None = None) -> None:
    """Write every file of ``pinned`` into ``folder``.

    given  a folder with all of them; the network is then not used

    Raises BuildError: a file is missing (69), or has another checksum (65).
    """
    folder.mkdir(parents=True, exist_ok=True)
    site = ""
    for source in pinned:
        path = folder / source.file
        if path.exists() and sha256(path) == source.sha256:
            continue
        part = path.with_name(path.name + ".part")
        part.unlink(missing_ok=True)
        if given is not None:
            _copy(source, given, part)
        else:
            print(f"fetching {source.file}", flush=True)
            if source.is_on_pypi:
                _from_pypi(source, part)
            else:
                site = site or mirror(_targets())
                _download(source, site, part)
        check(source, part)
        part.replace(path)


def _copy(source: Source, given: Path, part: Path) -> None:
    origin = given / source.file
    if not origin.is_file():
        raise BuildError(
            69,
            "a source is missing",
            where=str(given),
            expected=f"a file {source.file}",
            got="none",
        )
    check(source, origin)
    shutil.copyfile(origin, part)


def _targets() -> str:
    return subprocess.run(TARGETS, capture_output=True, text=True, check=False).stdout


def _download(source: Source, site: str, part: Path) -> None:
    done = subprocess.run(
        [APT_HELPER, "download-file", f"{site}/pool/main/{source.path}", str(part)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not part.exists():
        if FULL in done.stderr:
            raise no_space(str(part))
        lines = [line for line in done.stderr.splitlines() if line.startswith(("E:", "Err:"))]
        raise BuildError(
            69,
            "the mirror lacks a pinned file",
            where=source.path,
            got=lines[-1] if lines else f"status {done.returncode}",
            hint="try again, or give the files with SOURCES=DIR",
        )


def _from_pypi(source: Source, part: Path) -> None:
    """Download a source archive with pip; pip also installs, for a moment, what would build it."""
    project, _, version = source.file.removesuffix(".tar.gz").rpartition("-")
    with tempfile.TemporaryDirectory(dir=part.parent) as folder:
        lock = Path(folder, "lock.txt")
        lock.write_text(f"{project}=={version} --hash=sha256:{source.sha256}\n")
        done = subprocess.run(
            [
                *(
                    sys.executable,
                    "-m",
                    "pip",
                    "--disable-pip-version-check",
                    "--quiet",
                    "download",
                ),
                *("--no-deps", f"--no-binary={project}", "--require-hashes"),
                *(f"--dest={folder}", f"--requirement={lock}"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        file = Path(folder, source.file)
        if done.returncode or not file.exists():
            if FULL in done.stderr:
                raise no_space(str(part))
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
            raise BuildError(
                69,
                "PyPI lacks a pinned file, or cannot be reached",
                where=source.file,
                got=lines[-1] if lines else f"status {done.returncode}",
                hint="try again, or give the files with SOURCES=DIR",
            )
        file.replace(part)
