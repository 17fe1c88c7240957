"""`make install` on machines that it does not support: one line, before anything is installed.

Supported machines are tested in booted Debians: tests/system/test_install.py.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

DEBIAN = 'ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian 12"\n'


def install(
    folder: Path, *, arch: str = "amd64", system: str = DEBIAN, wheel: str = "", path: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the script on what looks like another machine."""
    (folder / "os-release").write_text(system)
    programs = folder / "bin"
    programs.mkdir()
    for name, text in (("dpkg", f"echo {arch}"), ("apt-get", "exit 100"), ("sudo", "exit 100")):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    environment = {
        **os.environ,
        "OS_RELEASE": str(folder / "os-release"),
        "PATH": path or f"{programs}:{os.environ['PATH']}",
    }
    return subprocess.run(
        ["/bin/bash", ROOT / "deploy" / "install.sh", wheel],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


@pytest.mark.parametrize("system", ["ubuntu-noble", "debian-bullseye", "debian-forky", "-"])
def test_another_system_is_refused(system: str, tmp_path: Path) -> None:
    """With its own name in the line."""
    name, _, suite = system.partition("-")
    text = f'ID={name}\nVERSION_CODENAME={suite}\nPRETTY_NAME="Some {suite}"\n'
    done = install(tmp_path, system=text)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr == (
        "install: unsupported system: expected Raspberry Pi OS or Debian, 12 or 13 (bookworm or"
        f" trixie), got Some {suite}\n"
    )


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    """As dpkg names it."""
    done = install(tmp_path, arch="riscv64")
    assert (done.returncode, done.stderr) == (
        64,
        "install: unsupported architecture: expected arm64, armhf or amd64, got riscv64\n",
    )


def test_without_apt_it_says_so(tmp_path: Path) -> None:
    """On a distribution with another package manager."""
    programs = tmp_path / "few"
    programs.mkdir()
    (programs / "dirname").symlink_to("/usr/bin/dirname")
    done = install(tmp_path, path=str(programs))
    assert (done.returncode, done.stderr) == (
        69,
        "install: no dpkg here: this needs Raspberry Pi OS or Debian\n",
    )


@pytest.mark.parametrize("name", ["debian", "raspbian"])
def test_raspberry_pi_os_with_32_bits_needs_a_wheel(name: str, tmp_path: Path) -> None:
    """PyPI has none; the line names the verb that makes one."""
    done = install(tmp_path, arch="armhf", system=DEBIAN.replace("debian", name))
    assert done.returncode == 69
    assert "PyPI has no TensorFlow Lite for armhf; on Debian 12: `make runtime" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_wheel_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Before any tool is installed."""
    done = install(tmp_path, wheel=f"{tmp_path}/it's.whl")
    assert (done.returncode, done.stderr) == (
        65,
        f"package: {tmp_path}/it's.whl: no such wheel\n",
    )
