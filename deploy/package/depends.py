"""The system libraries that the package's own shared objects need, as its Depends."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from deploy.opencv import pack
from deploy.runtime import elf
from deploy.runtime.pins import BuildError

GLIBC: Final = {"bookworm": elf.NEWEST_GLIBC, "trixie": (2, 41)}
"""Suite -> glibc's version."""
CXX: Final = {(3, 4, 30): "12", (3, 4, 29): "11", (3, 4, 0): "4.0"}
"""Symbol version of libstdc++ -> the version of Debian's libstdc++6 that has it."""


def libraries(private: Path, suite: str) -> str:
    """Return the libraries that the shared objects below ``private`` need."""
    needs = [elf.needs(path) for path in sorted(private.rglob("*.so"))]
    glibc = max(one.newest("GLIBC") for one in needs)
    if glibc[:2] > GLIBC[suite]:  # msgspec compiled here, or the wheel elsewhere, on a newer one
        raise BuildError(69, f"needs a newer glibc than {suite}'s", hint="build on Debian 12")
    cxx = max(one.newest("GLIBCXX") for one in needs)
    since = next(version for symbol, version in CXX.items() if cxx >= symbol)
    bound = pack.depends((name for one in needs for name in one.libraries), suite)
    return ", ".join(
        [f"libc6 (>= {glibc[0]}.{glibc[1]})", "libgcc-s1", f"libstdc++6 (>= {since})", *bound]
    )
