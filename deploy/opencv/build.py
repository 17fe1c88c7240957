"""``make opencv``: the package's own OpenCV and FFmpeg, from pinned sources, in build/opencv/ARCH.

    python3 -m deploy.opencv.build [--arch arm64] [--sources DIR] [--jobs N]

Steps: check this machine, fetch, unpack, compile, check the result, write it beside its licences
and bill of materials, and as a wheel in build/dist. Each step does only what is not done yet. Only
`fetch` uses the network.

Runs on Debian's own python3, without this project's packages.
"""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.opencv import pack, recipe
from deploy.runtime import wheel
from deploy.runtime.build import check_glibc, check_space, missing, require
from deploy.runtime.compiling import ROOT, epoch, logged
from deploy.runtime.fetch import fetch
from deploy.runtime.pins import ARCHES, BuildError, Source, no_space, sources
from deploy.runtime.unpack import texts, unpack
from edge.text import escaped

SPACE_BYTES: Final = 2_000_000_000
"""The most that a build needs, for one architecture, with the sources."""
TOOLS: Final = {"make": "make"}
ASSEMBLER: Final = {"amd64": {"nasm": "nasm"}}
"""Without it, FFmpeg decodes at half the speed."""
HEADERS: Final = ("python3.11", "numpy")
"""Sources of the runtime that this build needs, too."""


def main(arguments: Sequence[str]) -> int:
    """Build; return the exit status, after one line on an error."""
    parser = argparse.ArgumentParser(prog="make opencv", allow_abbrev=False)
    parser.add_argument("--arch", default="arm64")
    parser.add_argument("--sources", type=Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args(arguments)
    try:
        if args.arch not in ARCHES:
            expected = " or ".join(ARCHES)
            raise BuildError(64, "unsupported ARCH", expected=expected, got=args.arch)
        check_glibc()
        path = build(args.arch, args.sources, args.jobs)
        print(f"opencv: {path.relative_to(ROOT)} ({path.stat().st_size:,} bytes)")
    except BuildError as exc:
        print(escaped(f"opencv: {exc}"), file=sys.stderr)
        return exc.status
    except OSError as exc:
        full = exc.errno == errno.ENOSPC
        print(escaped(f"opencv: {no_space(str(ROOT / 'build')) if full else exc}"), file=sys.stderr)
        return 74
    return 0


def pinned(arch: str) -> tuple[Source, ...]:
    """Return the sources of a build for ``arch``."""
    shared = (source for source in sources(arch) if source.name in HEADERS)
    return (*sources(arch, recipe.HERE / "sources.toml"), *shared)


def build(arch: str, given: Path | None, jobs: int) -> Path:
    """Build; return the path of the wheel."""
    own = {**TOOLS, **ASSEMBLER.get(arch, {})}
    require({**missing(arch), **{one: own[one] for one in own if not shutil.which(one)}})
    here = ROOT / "build" / "opencv"
    here.mkdir(parents=True, exist_ok=True)
    work = here / "work" / arch
    if not work.exists():
        check_space(here, SPACE_BYTES)
    folders = recipe.Folders(here / "sources", work / "root", work)
    fetch(pinned(arch), here / "fetched", given)
    unpack(pinned(arch), here / "fetched", folders.sources, folders.root, arch, recipe.HERE)
    compile_ffmpeg(arch, folders, jobs)
    print(f"opencv: compiling OpenCV for {arch}, log in build/opencv/work/{arch}", flush=True)
    logged(recipe.opencv(arch, folders, jobs), work / "opencv.log")
    logged(recipe.plugin(arch, folders), work / "plugin.log")
    built = work / "stripped"
    built.mkdir(exist_ok=True)
    logged(recipe.strip(arch, folders, built), work / "strip.log")
    pack.check(built, recipe.libraries(arch, folders))
    licences = texts(pinned(arch), folders.sources, folders.root)
    files = pack.files(built, pinned(arch), licences, arch, epoch())
    for name, content in files.items():  # the same beside the objects, for those who use the folder
        path = here / arch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return wheel.archive(ROOT / "build" / "dist" / pack.file_name(arch), files, epoch())


def compile_ffmpeg(arch: str, folders: recipe.Folders, jobs: int) -> None:
    """Compile FFmpeg, from the start unless the same recipe has compiled the same source."""
    checksums = [one.sha256 for one in pinned(arch) if one.name == "ffmpeg"]
    stamp, text = folders.work / "ffmpeg.done", repr((checksums, recipe.ffmpeg(arch, folders, 0)))
    if stamp.exists() and stamp.read_text() == text:
        return
    print(f"opencv: compiling FFmpeg for {arch}", flush=True)
    stamp.unlink(missing_ok=True)
    for name in ("ffmpeg", "libav"):
        shutil.rmtree(folders.work / name, ignore_errors=True)
    (folders.work / "ffmpeg").mkdir(parents=True)
    commands = recipe.ffmpeg(arch, folders, jobs)
    logged(commands, folders.work / "ffmpeg.log", folders.work / "ffmpeg")
    stamp.write_text(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
