"""Which OpenCV a package uses: the one of `make opencv`, PyPI's or Debian's.

The first two lie in the package's private folder, so that all other programs keep the system's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from deploy.opencv import pack
from deploy.package import carried
from deploy.runtime.pins import BuildError

DEBIAN: Final = "debian"
"""python3-opencv, a dependency: 400 libraries, 100 MB more of memory, Debian's updates."""
PYPI: Final = "pypi"
"""PyPI's wheel: ten minutes less to build than `make opencv`, 20 MB more of memory."""
PROJECT: Final = "opencv-python-headless"


def check(choice: str, arch: str) -> None:
    """Raise BuildError where no package can be built with ``choice``.

    choice  DEBIAN, PYPI, a wheel of `make opencv`, or empty for that in build/dist
    """
    if choice == PYPI and arch not in carried.ON_PYPI:
        raise BuildError(
            69,
            f"PyPI has no OpenCV for {arch}",
            hint=f"run `make opencv ARCH={arch}` on Debian 12, or take Debian's: OPENCV=debian",
        )
    if choice in ("", DEBIAN, PYPI):
        return
    if not Path(choice).is_file():
        expected = f"debian, pypi or a wheel {pack.file_name(arch)}"
        raise BuildError(65, "no such OpenCV", where=choice, expected=expected)
    if Path(choice).name != pack.file_name(arch):
        raise BuildError(
            65, "not this version's OpenCV", where=choice, expected=pack.file_name(arch)
        )


def wheel(choice: str, arch: str, python: str, folder: Path, dist: Path) -> Path | None:
    """Return the wheel that ``choice`` means, None for Debian's package; PyPI's is fetched.

    folder  for what is fetched
    dist    where `make opencv` puts its wheels
    """
    if choice == DEBIAN:
        return None
    if choice == PYPI:
        return carried.tested(PROJECT, arch, python, folder)
    file = Path(choice) if choice else dist / pack.file_name(arch)
    if not file.is_file():
        instead = "OPENCV=pypi or OPENCV=debian" if arch in carried.ON_PYPI else "OPENCV=debian"
        raise BuildError(
            69,
            "no wheel of OpenCV",
            where=str(dist),
            expected=pack.file_name(arch),
            got="none",
            hint=f"run `make opencv ARCH={arch}` first: ten minutes; or take another: {instead}",
        )
    return file
