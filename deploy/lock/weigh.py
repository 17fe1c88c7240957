"""The size of each lock: packages, megabytes to fetch and on disk, by machine.

    python -m deploy.lock.weigh

Downloads what a lock pins for each machine, adds up the wheels and their unpacked files, and writes
``sizes.txt``, which deploy/setup.sh reads. ``dev`` and ``web`` are added to ``run``, and counted
without it. A lock with a package that has no wheel for a machine gets no line.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
SIZES: Final = HERE / "sizes.txt"
LOCKS: Final = ("run", "dev", "train", "web", "fleet")
"""Those whose packages are all wheels."""
BASE: Final = {"dev": "run", "web": "run"}
"""Lock -> the lock that is installed before it."""
MACHINES: Final = ("x86_64", "aarch64")
PYTHON: Final = "3.13.5"
GLIBC: Final = (17, 24, 26, 27, 28, 31, 34, 35, 36)
BLOCK_BYTES: Final = 4096
HEADER: Final = f"""\
# lock, start of its sha256, machine, packages, MB to fetch, MB on disk (Python {PYTHON});
# written by deploy/lock/weigh.py
"""


def digest(lock: str) -> str:
    """Return the start of a lock's SHA-256."""
    return hashlib.sha256((HERE / f"{lock}.txt").read_bytes()).hexdigest()[:12]


def download(lock: str, machine: str, folder: Path) -> bool:
    """Fetch a lock's wheels into ``folder``; return whether all of them are available."""
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in GLIBC]
    platforms.append(f"--platform=manylinux2014_{machine}")
    command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", f"--python-version={PYTHON}", *platforms]
    command += [f"--dest={folder}", f"--requirement={HERE / lock}.txt"]
    return subprocess.run(command, check=False).returncode == 0


def unpacked(wheel: Path) -> int:
    """Return the bytes that a wheel's files take on a disk with blocks of 4 KiB."""
    with zipfile.ZipFile(wheel) as archive:
        return sum(-(-one.file_size // BLOCK_BYTES) * BLOCK_BYTES for one in archive.infolist())


def weigh(lock: str, machine: str) -> str:
    """Return a lock's line for a machine; empty where a wheel is missing."""
    with tempfile.TemporaryDirectory(prefix="edge-lock-") as name:
        folder = Path(name)
        if not download(lock, machine, folder):
            return ""
        base = (HERE / f"{BASE[lock]}.txt").read_text() if lock in BASE else ""
        present = set(re.findall(r"^([\w-]+==\S+)", base, re.MULTILINE))
        wheels = [
            wheel
            for wheel in folder.iterdir()
            if "==".join(wheel.name.split("-")[:2]).replace("_", "-").lower() not in present
        ]
        fetched = sum(wheel.stat().st_size for wheel in wheels)
        on_disk = sum(map(unpacked, wheels))
    return (
        f"{lock} {digest(lock)} {machine} {len(wheels)} "
        f"{round(fetched / 1e6)} {round(on_disk / 1e6)}\n"
    )


def main() -> None:
    """Write the table."""
    lines = [weigh(lock, machine) for lock in LOCKS for machine in MACHINES]
    SIZES.write_text(HEADER + "".join(lines))


if __name__ == "__main__":
    main()
