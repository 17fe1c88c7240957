"""`make test-runtime`: the packages of other architectures, unpacked into an emulated Debian.

Packages come from build/dist; `make deb` makes them, and a missing one is reported as LEFT OUT.
"""

from __future__ import annotations

import subprocess

import pytest

from deploy.package import build
from deploy.runtime.emulated import make_root
from deploy.runtime.peers import EMULATED
from tests.conftest import ROOT

PICTURES = sorted((ROOT / "deploy" / "demo" / "pictures").glob("*.jpg"))


@pytest.mark.emulated
@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
@pytest.mark.parametrize("arch", ["arm64", "armhf"])
def test_the_package_checks_and_classifies(suite: str, arch: str) -> None:
    """With the distribution's own NumPy and the package's OpenCV, all of them emulated."""
    debs = sorted(build.DIST.glob(f"edge-camera_*~{build.SUITES[suite][1]}_{arch}.deb"))
    if not debs:
        pytest.skip(f"LEFT OUT: no package in build/dist; `make deb ARCH={arch} SUITE={suite}`")
    command = ["dpkg-deb", "--field", str(debs[-1]), "Depends"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    depends = sorted({one.split()[0].partition(":")[0] for one in output.split(",")})
    guest = make_root(EMULATED / "packages", suite, arch, depends)
    subprocess.run(["dpkg-deb", "--extract", str(debs[-1]), str(guest.root)], check=True)
    launcher = (guest.root / "usr" / "bin" / "edge").read_text()
    # qemu-user shows a program its root, but not through a 32-bit guest's statx.
    private = "/usr/lib/edge-camera"
    program = ("-IBc", launcher.replace(private, f"{guest.root}{private}"))
    checked = guest.run([*program, "check"], ())
    assert checked.returncode == 0, checked.stderr
    assert "runtime  tflite_runtime" in checked.stdout
    seeing = launcher.split("from edge")[0].replace(private, f"{guest.root}{private}")
    where = guest.run(("-IBc", f"{seeing}\nimport cv2; print(cv2.__file__)"), ())
    assert where.stdout == f"{guest.root}{private}/cv2.abi3.so\n", where.stderr
    classified = guest.run([*program, "classify", *map(str, PICTURES)], ())
    assert classified.returncode == 0, classified.stderr
    for picture, line in zip(PICTURES, classified.stdout.splitlines(), strict=True):
        assert line.split()[1] == picture.name.partition("_")[0]
