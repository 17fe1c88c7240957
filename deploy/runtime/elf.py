"""The system requirements of a shared object, read with binutils' readelf.

Knows nothing of wheels but their platform tags (PEP 600): manylinux_2_X runs where glibc is 2.X or
newer. libstdc++ and libgcc belong to the system too; auditwheel's policies define the versions
that a tag allows.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.runtime.pins import ARCHES, BuildError

NEWEST_GLIBC: Final = (2, 36)
"""Debian 12's. An object that needs a newer one would not run there."""
SYSTEM: Final = re.compile(
    r"lib(c|m|dl|pthread|gcc_s|stdc\+\+)\.so\.\d+|ld-linux[-\w]*\.so\.\d+", re.ASCII
)
"""System libraries that a manylinux wheel may use, as far as needed here."""
CXX_SINCE: Final = {(3, 4, 28): 31, (3, 4, 29): 34, (3, 4, 30): 35}
"""libstdc++ symbol version -> X of the first manylinux_2_X that allows it; older: always."""


@dataclass(frozen=True, slots=True)
class Needs:
    """The needs of a shared object.

    libraries  names of shared objects, in the order of the file
    versions   symbol versions, as GLIBC_2.34
    undefined  symbols without a version: those of Python itself
    """

    libraries: tuple[str, ...]
    versions: frozenset[str]
    undefined: frozenset[str]

    def newest(self, name: str) -> tuple[int, ...]:
        """Return the newest version needed of GLIBC or GLIBCXX; () where none is."""
        found = (re.fullmatch(rf"{name}_([\d.]+)", version) for version in self.versions)
        return max((tuple(map(int, one[1].split("."))) for one in found if one), default=())


def needs(library: Path) -> Needs:
    """Return the needs of ``library``."""
    done = subprocess.run(
        ["readelf", "--wide", "--dynamic", "--dyn-syms", str(library)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(70, "not a shared object", where=str(library), got=done.stderr)
    return parse(done.stdout)


def defined(library: Path) -> set[str]:
    """Return the names of the symbols that ``library`` exports, without their versions."""
    done = subprocess.run(
        ["readelf", "--wide", "--dyn-syms", str(library)],
        capture_output=True,
        text=True,
        check=False,
    )
    return set(re.findall(r" (?:GLOBAL|WEAK)\s+\w+\s+\d+ ([^\s@]+)", done.stdout))


def parse(text: str) -> Needs:
    """Return the needs in readelf's ``text``."""
    missing = re.findall(r" (?:GLOBAL|WEAK)\s+\w+\s+UND (\S+)", text)
    strong = re.findall(r" GLOBAL\s+\w+\s+UND (\S+)", text)
    return Needs(
        libraries=tuple(re.findall(r"\(NEEDED\).*\[(.+)\]", text)),
        versions=frozenset(name.split("@")[1] for name in missing if "@" in name),
        undefined=frozenset(name for name in strong if "@" not in name),
    )


def platform_tag(found: Needs, arch: str) -> str:
    """Return the wheel's platform tag; raise BuildError where none fits.

    Source: PEP 600, and the policies of auditwheel 6.
    """
    foreign = [name for name in found.libraries if not SYSTEM.fullmatch(name)]
    if foreign:
        raise BuildError(70, "the runtime needs foreign libraries", got=", ".join(foreign))
    unknown = sorted(name for name in found.undefined if not name.startswith(("Py", "_Py")))
    if unknown:
        raise BuildError(70, "the runtime lacks symbols", got=", ".join(unknown[:5]))
    glibc = found.newest("GLIBC")
    if glibc[:2] > NEWEST_GLIBC:
        raise BuildError(
            69,
            "built against a newer glibc than Debian 12's",
            expected="2.36 or older",
            got=".".join(map(str, glibc)),
            hint="build on Debian 12",
        )
    minor = max(17, *glibc[1:2])
    for version, since in CXX_SINCE.items():
        if found.newest("GLIBCXX") >= version:
            minor = max(minor, since)
    if found.newest("GLIBCXX") > max(CXX_SINCE):
        raise BuildError(69, "built against a newer libstdc++ than Debian 12's")
    return f"manylinux_2_{minor}_{ARCHES[arch]}"
