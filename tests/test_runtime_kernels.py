"""A reduced build: every run of the tests compiles some of the runtime; for all CI has no time.

It fetches the pinned sources, unpacks and patches them, configures the whole recipe for arm64, and
compiles the kernels that our patches choose, with those that XNNPACK would have chosen. Under
qemu-user the two must compute the same, bit for bit. What an earlier run left is used.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.runtime import build
from deploy.runtime.fetch import fetch
from deploy.runtime.pins import TRIPLES, BuildError, sources
from deploy.runtime.unpack import unpack
from tests.conftest import ROOT, WAIT_S

ARCH = "arm64"
FOLDER = ROOT / "build" / "runtime"
OBJECTS = FOLDER / ARCH / "objects"
HARNESS = ROOT / "tests" / "kernels.c"
UPSTREAM = [
    f"xnnpack/CMakeFiles/microkernels-prod.dir/src/qs8-qc8w-{name}.o"
    for name in (
        "gemm/gen/qs8-qc8w-gemm-2x8c8-minmax-fp32-asm-aarch64-neon-mlal-prfm.S",
        "igemm/gen/qs8-qc8w-igemm-2x8c8-minmax-fp32-asm-aarch64-neon-mlal-prfm.S",
        "igemm/gen/qs8-qc8w-igemm-4x16-minmax-fp32-asm-aarch64-neon-mlal-lane-ld64.S",
        "dwconv/gen/qs8-qc8w-dwconv-9p16c-minmax-fp32-neonv8-mla8-ld64.c",
        "dwconv/gen/qs8-qc8w-dwconv-9p16c-minmax-fp32-neonv8-mla8-ld128.c",
        "dwconv/gen/qs8-qc8w-dwconv-25p16c-minmax-fp32-neonv8-mla8-ld64.c",
        "dwconv/gen/qs8-qc8w-dwconv-25p16c-minmax-fp32-neonv8-mla8-ld128.c",
    )
]
OURS = "libint8_tiles.a"
TILE = "qs8-qc8w-gemm-4x8c2s4-minmax-fp32-neonv8-mlal.c"
HEADERS = ("xnnpack/include", "xnnpack/src", "pthreadpool/include")
COMPILE = f"""
import sys
from pathlib import Path
from deploy.runtime.build import compile_all
folder = Path({str(FOLDER)!r})
root = folder / {ARCH!r} / "root"
objects = folder / {ARCH!r} / "objects"
compile_all({ARCH!r}, folder / "sources", root, objects, sys.argv[1:], 1)
"""


def compiling(*targets: str) -> subprocess.Popen[str]:
    """Start the recipe's own compiling of ``targets``, one file at a time."""
    return subprocess.Popen(
        [sys.executable, "-c", COMPILE, *targets],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def fetched() -> Path:
    """Every pinned file for arm64, from the mirror or from earlier."""
    lacking = [*build.missing(ARCH), *(n for n in ("qemu-aarch64",) if not shutil.which(n))]
    if lacking:
        pytest.skip(f"LEFT OUT: no {', '.join(lacking)}; `deploy/setup.sh runtime` installs them")
    try:
        fetch(sources(ARCH), FOLDER / "fetched")
    except BuildError as error:
        if error.status != 69:
            raise
        pytest.skip(f"LEFT OUT: {error}")
    return FOLDER / "fetched"


@pytest.fixture(scope="module")
def compiled(fetched: Path) -> list[Path]:
    """Our kernels and upstream's, compiled by the recipe; the first try is killed on its way."""
    unpack(sources(ARCH), fetched, FOLDER / "sources", FOLDER / ARCH / "root", ARCH)
    paths = [OBJECTS / name for name in UPSTREAM]
    for path in paths:
        path.unlink(missing_ok=True)
    first = compiling(*UPSTREAM)
    deadline = time.monotonic() + 10 * WAIT_S
    while sum(path.exists() for path in paths) < 3 and first.poll() is None:
        assert time.monotonic() < deadline, "the compiler makes nothing"
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    there = sorted((path for path in paths if path.exists()), key=lambda path: path.stat().st_mtime)
    before = {path: path.stat().st_mtime_ns for path in there[:-1]}  # the last may be half of one
    again = compiling(OURS, *UPSTREAM)
    output, _ = again.communicate()
    assert again.returncode == 0, output
    assert before
    assert {path: path.stat().st_mtime_ns for path in before} == before
    return [OBJECTS / OURS, *paths]


def run(folder: Path, parts: list[Path]) -> subprocess.CompletedProcess[str]:
    """Link the comparison with ``parts`` and run it on an emulated Cortex-A72."""
    program = folder / "kernels"
    done = subprocess.run(
        [
            *(f"{TRIPLES[ARCH]}-gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o"),
            *(str(program), str(HARNESS), *map(str, parts)),
            *(f"-I{FOLDER / 'sources' / name}" for name in HEADERS),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    command = ["qemu-aarch64", "-cpu", "cortex-a72", str(program)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_kernels_we_choose_compute_what_xnnpacks_choices_do(
    compiled: list[Path], tmp_path: Path
) -> None:
    """Every rest of rows, columns, depth and channels; not one value differs."""
    ran = run(tmp_path, [*compiled[1:], compiled[0]])
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = [line.split() for line in ran.stdout.splitlines()]
    assert [name for name, _, _ in rows] == [
        *("gemm", "igemm", "igemm-few-channels", "dwconv-3x3", "dwconv-5x5")
    ]
    assert all(int(cases) >= 350 and differ == "0" for _, cases, differ in rows)


def test_a_kernel_that_is_wrong_is_noticed(compiled: list[Path], tmp_path: Path) -> None:
    """One rotation by four bytes instead of two, in the first row."""
    text = (OBJECTS / TILE).read_text()
    right = "va0x0 = vext_s8(va0x0, va0x0, 2);"
    assert right in text
    wrong = tmp_path / "wrong.c"
    wrong.write_text(text.replace(right, right.replace("2)", "4)"), 1))
    broken = tmp_path / "wrong.o"
    headers = [f"-I{FOLDER / 'sources' / name}" for name in HEADERS]
    command = [f"{TRIPLES[ARCH]}-gcc", "-O1", "-w", "-c", "-o", str(broken), str(wrong), *headers]
    subprocess.run(command, check=True)
    ran = run(tmp_path, [broken, *compiled[1:], compiled[0]])
    assert ran.returncode == 1
    assert int(ran.stdout.split()[2]) > 0


def test_the_flags_are_the_a72s(compiled: list[Path]) -> None:
    """And nothing of the machine's own environment is in the commands."""
    commands = subprocess.run(
        ["ninja", "-C", str(OBJECTS), "-t", "commands", UPSTREAM[3]],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for flag in ("-march=armv8-a+crc", "-mtune=cortex-a72", "-ffunction-sections", "-fPIC"):
        assert f" {flag} " in commands


FULL = """
set -e
mkdir -p "$2"
mount --bind "$1" "$2"
mount -t tmpfs -o size=4m tmpfs build
mkdir -p build/runtime/arm64/objects
! "$3" -m deploy.runtime.build --sources "$2" || exit 1
# Not with the mount's own uid and gid, which a user other than root may not give again.
mount --options-mode ignore -t tmpfs -o remount,size=200m tmpfs build
"$3" -c "
import sys
from pathlib import Path
from deploy.runtime.fetch import fetch
from deploy.runtime.pins import sources
fetch(sources('arm64'), Path('build/runtime/fetched'), Path(sys.argv[1]))
" "$2"
ls build/runtime/fetched | wc -l
"""


def test_a_full_disk_is_one_line_and_goes_on(fetched: Path, tmp_path: Path) -> None:
    """A build folder of four megabytes, made larger afterwards."""
    done = subprocess.run(
        ["unshare", "-Urm", "bash", "-c", FULL, "-", fetched, tmp_path / "given", sys.executable],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if "unshare failed" in done.stderr:
        pytest.skip(f"LEFT OUT: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "no space left; free some space and run it again" in done.stderr
    assert done.stdout.split()[-1] == str(len(sources(ARCH)))
