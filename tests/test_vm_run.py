"""When the virtual machine of the cameras is left out, and when its run fails."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

VM = ROOT / "tests" / "vm"


def run(tmp_path: Path, programs: dict[str, str], **env: str) -> subprocess.CompletedProcess[str]:
    """Run it with ``programs`` in the place of the system's."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name, body in programs.items():
        (bin_ / name).write_text(f"#!/bin/sh\n{body}\n")
        (bin_ / name).chmod(0o755)
    return subprocess.run(
        [VM / "run.sh"],
        env={**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", **env},
        capture_output=True,
        text=True,
        check=False,
    )


NO_PACKAGE = {
    "dpkg-query": "exit 1",
    "sudo": 'exec "$@"',
    "apt-get": 'case "$*" in *update*) exit 0;; esac\n'
    "echo 'E: Unable to locate package qemu-system-x86' >&2; exit 100",
}


@pytest.mark.parametrize("optional", ["", "1"])
def test_a_machine_that_cannot_be_built_is_left_out_only_if_optional(
    optional: str, tmp_path: Path
) -> None:
    """Status 0 and the reason with OPTIONAL=1, as in CI; a failure without."""
    done = run(tmp_path, NO_PACKAGE, OPTIONAL=optional)
    packages = "busybox-static e2fsprogs kmod mmdebstrap qemu-system-x86"
    why = f"setup: apt cannot install these: {packages}"
    if optional:
        line = f"LEFT OUT: cameras in a virtual machine: {why}\n"
        assert (done.returncode, done.stdout) == (0, line)
    else:
        assert done.returncode == 69
        assert "E: Unable to locate package qemu-system-x86" in done.stderr
        assert f"vm: the machine cannot be built: {why}" in done.stderr


def test_a_machine_that_was_built_and_fails_is_never_left_out(tmp_path: Path) -> None:
    """This one has no kernel to boot."""
    text = (VM / "build.sh").read_bytes() + (VM / "requirements.txt").read_bytes()
    folder = tmp_path / "vm"
    folder.mkdir()
    (folder / ".complete").write_text(f"{hashlib.sha256(text).hexdigest()}  -\n")
    done = run(tmp_path, {"dpkg-query": "printf installed"}, OPTIONAL="1", FOLDER=str(folder))
    assert done.returncode == 1
    assert "LEFT OUT" not in done.stdout
