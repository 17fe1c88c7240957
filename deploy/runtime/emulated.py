"""An emulated Debian for qemu-user: unpacked packages, and a Python that runs in them.

Rule 1: nothing is installed and no maintainer script runs: apt resolves and downloads for another
        architecture, dpkg-deb unpacks. That takes seconds, where an installed root takes minutes.
Rule 2: only `make_root` and `add_wheels` use the network, and only where the result is missing.

The guest has a Raspberry Pi 4's /proc/cpuinfo and /sys/devices/system/cpu, by which the runtime
selects its kernels. Knows nothing of the runtime.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.runtime.fetch import TARGETS, mirror
from deploy.runtime.pins import TRIPLES, BuildError

PYTHON_OF: Final = {"bookworm": "3.11", "trixie": "3.13"}
PACKAGES: Final = ("libstdc++6", "libgcc-s1", "zlib1g", "libexpat1", "libffi8")
NUMPY_OF_DEBIAN: Final = {"armhf": ("python3-numpy",)}
"""PyPI has no NumPy for 32-bit ARM."""
QEMU: Final = {"arm64": "qemu-aarch64", "armhf": "qemu-arm"}
KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
CPUS: Final = 4
CPUINFO: Final = """processor\t: {n}
BogoMIPS\t: 108.00
Features\t: {features}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

"""
FEATURES: Final = {
    "arm64": "fp asimd evtstrm crc32 cpuid",
    "armhf": "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae crc32",
}


@dataclass(frozen=True, slots=True)
class Guest:
    """One emulated root.

    root   the unpacked packages
    arch   Debian architecture
    suite  bookworm or trixie
    """

    root: Path
    arch: str
    suite: str

    @property
    def debian_packages(self) -> Path:
        """Where Debian's own Python packages are."""
        return self.root / "usr" / "lib" / "python3" / "dist-packages"

    @property
    def python(self) -> str:
        """The version of its Python."""
        return PYTHON_OF[self.suite]

    def command(
        self, arguments: Sequence[str], paths: Sequence[Path], qemu: Sequence[str] = ()
    ) -> list[str]:
        """Return the command that runs the guest's Python with ``arguments``.

        paths  folders with Python packages for the guest
        qemu   further options of qemu-user
        """
        library = self.root / "usr" / "lib" / TRIPLES[self.arch]
        environment = [
            *("-E", "PYTHONPATH=" + ":".join(map(str, paths))),
            *("-E", "PYTHONDONTWRITEBYTECODE=1", "-E", "PYTHONHASHSEED=0"),
            # The target of Debian's alternatives, which are not installed.
            *("-E", f"LD_LIBRARY_PATH={library}/blas:{library}/lapack"),
        ]
        interpreter = self.root / "usr" / "bin" / f"python{self.python}"
        return [
            *(QEMU[self.arch], "-cpu", "cortex-a72" if self.arch == "arm64" else "max"),
            *("-L", str(self.root), *environment, *qemu),
            *(str(interpreter), "-P", *arguments),
        ]

    def run(
        self, arguments: Sequence[str], paths: Sequence[Path], qemu: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run the guest's Python to its end."""
        return subprocess.run(
            self.command(arguments, paths, qemu), capture_output=True, text=True, check=False
        )


def make_root(folder: Path, suite: str, arch: str, more: Sequence[str] = ()) -> Guest:
    """Return the root of ``suite`` below ``folder``, made if absent.

    more  further Debian packages
    """
    root = folder / f"{suite}-{arch}"
    guest = Guest(root, arch, suite)
    if not shutil.which(QEMU[arch]):
        raise BuildError(69, "a tool is missing", got=QEMU[arch], hint="apt-get install qemu-user")
    if (root / ".complete").exists():
        return guest
    shutil.rmtree(root, ignore_errors=True)
    apt = root / "apt"
    for name in ("lists/partial", "archives/partial", "etc", "state"):
        (apt / name).mkdir(parents=True)
    site = mirror(subprocess.run(TARGETS, capture_output=True, text=True, check=False).stdout)
    (apt / "etc" / "sources.list").write_text(
        f"deb [arch={arch} signed-by={KEYRING}] {site} {suite} main\n"
    )
    (apt / "state" / "status").touch()
    options = [
        f"Dir::State={apt / 'state'}",
        f"Dir::State::status={apt / 'state' / 'status'}",
        f"Dir::State::lists={apt / 'lists'}",
        f"Dir::Cache={apt}",
        f"Dir::Etc::sourcelist={apt / 'etc' / 'sources.list'}",
        "Dir::Etc::sourceparts=/dev/null",
        f"APT::Architecture={arch}",
        f"APT::Architectures={arch}",
        "APT::Install-Recommends=false",
        "Acquire::Languages=none",
        "APT::Sandbox::User=root",
    ]
    apt_get = ["apt-get", "-q", "-y", *(f"-o{option}" for option in options)]
    _run([*apt_get, "update"])
    packages = [f"python{guest.python}", *PACKAGES, *NUMPY_OF_DEBIAN.get(arch, ()), *more]
    _run([*apt_get, "--download-only", "install", *packages])
    for package in sorted((apt / "archives").glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(root)])
    shutil.rmtree(apt)
    _pi(root, arch)
    (root / ".complete").touch()
    return guest


def _pi(root: Path, arch: str) -> None:
    """Write a Raspberry Pi 4's description of its processor, and the links of base-files."""
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc" / "cpuinfo").write_text(
        "".join(CPUINFO.format(n=n, features=FEATURES[arch]) for n in range(CPUS))
    )
    cpu = root / "sys" / "devices" / "system" / "cpu"
    cpu.mkdir(parents=True, exist_ok=True)
    for name in ("possible", "present", "online", "kernel_max"):
        (cpu / name).write_text(f"0-{CPUS - 1}\n" if name != "kernel_max" else "255\n")
    for n in range(CPUS):
        for name, value in (("core_id", n), ("physical_package_id", 0), ("cluster_id", 0)):
            (cpu / f"cpu{n}" / "topology").mkdir(parents=True, exist_ok=True)
            (cpu / f"cpu{n}" / "topology" / name).write_text(f"{value}\n")
        (cpu / f"cpu{n}" / "cpufreq").mkdir(exist_ok=True)
        for name, value in (("cpuinfo_max_freq", 1_800_000), ("cpuinfo_min_freq", 600_000)):
            (cpu / f"cpu{n}" / "cpufreq" / name).write_text(f"{value}\n")
    for name in ("lib", "bin"):  # packages of merged-usr systems leave these links to base-files
        if not (root / name).exists():
            os.symlink(f"usr/{name}", root / name)
    triple = TRIPLES[arch]
    if not (root / "lib" / triple).exists():
        raise BuildError(70, "no C library in the emulated root", where=str(root))


def add_wheels(
    folder: Path, guest: Guest, packages: Sequence[str], links: Path | None = None
) -> Path:
    """Return ``folder`` with wheels of ``packages`` for the guest, installed without running them.

    links  a folder with wheels of our own
    """
    done = folder / ".complete"
    content = "\n".join(packages)
    if done.exists() and done.read_text() == content:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    machine = {"arm64": "aarch64", "armhf": "armv7l"}[guest.arch]
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in (17, 27, 28, 34, 35)]
    tag = guest.python.replace(".", "")
    _run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"),
            *("--no-deps", "--no-compile", "--only-binary=:all:", f"--target={folder}"),
            *(*platforms, f"--platform=manylinux2014_{machine}"),
            *(f"--python-version={guest.python}", "--implementation=cp", f"--abi=cp{tag}"),
            *("--abi=abi3", "--abi=none"),
            *([f"--find-links={links}"] if links else []),
            *packages,
        ]
    )
    done.write_text(content)
    return folder


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise BuildError(
            69, f"{Path(command[0]).name} failed", got=lines[-1] if lines else str(done.returncode)
        )
