"""The unpacked and patched sources: one folder per source, and one root per target.

A folder has a stamp of the checksums of the file and its patches. With the right stamp it is done;
the stamp is written last, so that an interrupted run repeats that folder only. A tarball unpacked
again for its patches keeps its dates: only patched files are compiled again.

Patches are NAME-*.patch in the folder patches of a recipe, applied in the order of their names;
the head of each explains it.

Knows neither network nor compiler.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.runtime.pins import FULL, HERE, TRIPLES, BuildError, Source, no_space, sha256

STAMP: Final = ".unpacked"


def unpack(
    pinned: Sequence[Source],
    fetched: Path,
    folder: Path,
    root: Path,
    arch: str,
    recipe: Path = HERE,
) -> None:
    """Unpack tarballs below ``folder`` and packages into ``root``.

    fetched  the folder with the checked files of ``pinned``
    recipe   the folder with the patches
    """
    for source in pinned:
        if not source.is_package:
            patches = sorted((recipe / "patches").glob(f"{source.name}-*.patch"))
            _tarball(source, fetched / source.file, folder / source.name, patches)
    _root([source for source in pinned if source.is_package], fetched, root, arch)


def texts(pinned: Sequence[Source], folder: Path, root: Path) -> dict[str, list[Path]]:
    """Return the files with the text of each licence, by source; all of them exist."""
    licences = {}
    for source in pinned:
        top = root if source.is_package else folder / source.name
        files = [top / text for text in source.texts]
        for file in files:
            if not file.is_file():
                raise BuildError(
                    65, "licence file is missing", where=source.file, expected=str(file)
                )
        licences[source.name] = files
    return licences


def _tarball(source: Source, file: Path, folder: Path, patches: Sequence[Path]) -> None:
    stamp = _stamp([source.sha256, *(sha256(patch) for patch in patches)])
    if _stamped(folder, stamp):
        return
    print(f"unpacking {source.file}", flush=True)
    changed, known = _changed(folder.with_name(f"{source.name}{STAMP}"), source, patches)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    strip = f"--strip-components={source.strip}"
    dates = [] if known else ["--touch"]
    _run(["tar", "-xf", str(file), "-C", str(folder), "--no-same-owner", strip, *dates])
    for patch in patches:
        _run(["patch", "-s", "-p1", "-d", str(folder), "-i", str(patch)])
    for name in changed:
        (folder / name).touch()
    (folder / STAMP).write_text(stamp)


def _changed(note: Path, source: Source, patches: Sequence[Path]) -> tuple[list[str], bool]:
    """Return the files that patches change, now or before, and whether the tarball is the same.

    Both are stored beside the folder, and kept when it is removed.
    """
    checksum, *before = note.read_text().split() if note.exists() else [""]
    known = checksum == source.sha256
    now = [
        name
        for patch in patches
        for name in re.findall(r"^\+\+\+ b/(\S+)", patch.read_text(), re.M)
    ]
    names = sorted({*before, *now})
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text("".join(f"{line}\n" for line in (source.sha256, *names)))
    return names, known


def _root(packages: Sequence[Source], fetched: Path, root: Path, arch: str) -> None:
    """Make a root with the packages' files only, NumPy's headers in /numpy."""
    stamp = _stamp([package.sha256 for package in packages])
    if _stamped(root, stamp):
        return
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for package in packages:
        print(f"unpacking {package.file}", flush=True)
        _run(["dpkg-deb", "-x", str(fetched / package.file), str(root)])
    headers = root / "usr" / "lib" / TRIPLES[arch] / "python3-numpy" / "numpy" / "_core" / "include"
    headers.rename(root / "numpy")
    _merge_usr(root)
    for path in root.rglob("*"):  # other packages may have older dates
        if path.is_file():
            path.touch()
    (root / STAMP).write_text(stamp)


def _merge_usr(root: Path) -> None:
    """Move /lib below /usr, as on Debian, and have links lead to files of this root only."""
    if (root / "lib").is_dir():
        shutil.copytree(root / "lib", root / "usr" / "lib", symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(root / "lib")
    for link in [path for path in root.rglob("*") if path.is_symlink()]:
        target = str(link.readlink())
        if target.startswith("/lib/"):  # libz.so, to a file that another architecture's may not be
            link.unlink()
            link.symlink_to(root / "usr" / target[1:])


def _stamp(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _stamped(folder: Path, stamp: str) -> bool:
    file = folder / STAMP
    return file.is_file() and file.read_text() == stamp


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        if FULL in done.stderr:
            raise no_space(command[-1])
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise BuildError(
            70,
            f"{command[0]} failed",
            where=command[-1],
            got=lines[-1] if lines else f"status {done.returncode}",
        )
