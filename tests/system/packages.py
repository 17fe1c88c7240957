"""The packages under test, and older versions of them.

python -m tests.system.packages SUITE ARCH     what both depend on, one per line
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DIST: Final = Path(__file__).resolve().parents[2] / "build" / "dist"
DAEMON: Final = "edge-camera"
WEB: Final = "edge-camera-web"
CONFFILE: Final = "etc/edge-camera/edge.toml"
ENDS: Final = {"bookworm": "deb12", "trixie": "deb13"}
"""Suite -> the end of its packages' versions."""
PLACES: Final = {
    "service": "usr/lib/edge-camera/edge/daemon/service.py",
    "framepath": "usr/lib/edge-camera/edge/daemon/framepath.py",
    "postinst": "DEBIAN/postinst",
    "config": CONFFILE,
}
"""What a changed package can differ in -> its file."""
BEFORE: Final = "0.0.1"
"""Version of the package that is upgraded: older than every other."""


@dataclass(frozen=True, slots=True)
class Package:
    """A .deb on this machine."""

    path: Path

    def field(self, name: str) -> str:
        """Return a field of its control file."""
        query = ["dpkg-deb", "-f", str(self.path), name]
        return subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip()

    def depends(self) -> list[str]:
        """Return its dependencies: of alternatives the first, without versions."""
        alternatives = self.field("Depends").split(",")
        return sorted(
            {one.split("|")[0].split("(")[0].split(":")[0].strip() for one in alternatives}
        )


def find(folder: Path, suite: str, arch: str, name: str = DAEMON) -> Package:
    """Return the package of a suite and architecture. Raises FileNotFoundError."""
    pattern = f"{name}_*{ENDS[suite]}_{'all' if name == WEB else arch}.deb"
    packages = list(folder.glob(pattern))
    if not packages:
        raise FileNotFoundError(f"{folder} has no {pattern}: make deb ARCH={arch} SUITE={suite}")
    return Package(max(packages, key=lambda path: path.stat().st_mtime))


def before(package: Package, folder: Path) -> Package:
    """Return the same package as an older version with other lines in its config, in ``folder``.

    A changed config in a package is what dpkg asks about on an upgrade.
    """
    with tempfile.TemporaryDirectory(dir=folder) as made:
        tree = Path(made)
        subprocess.run(["dpkg-deb", "-R", package.path, tree], check=True)
        control = tree / "DEBIAN" / "control"
        version = package.field("Version")
        control.write_text(
            control.read_text().replace(f"Version: {version}\n", f"Version: {BEFORE}\n")
        )
        config = tree / CONFFILE
        config.write_text(config.read_text() + "# as it was\n")
        sums = tree / "DEBIAN" / "md5sums"
        if sums.exists():
            digest = hashlib.md5(config.read_bytes(), usedforsecurity=False).hexdigest()
            lines = sums.read_text().splitlines()
            kept = [f"{digest}  {CONFFILE}" if CONFFILE in line else line for line in lines]
            sums.write_text("".join(f"{line}\n" for line in kept))
        made_path = folder / f"edge-camera_{BEFORE}.deb"
        build = ["dpkg-deb", "-Znone", "--root-owner-group", "-b", str(tree), str(made_path)]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    return Package(made_path)


def changed(package: Package, folder: Path, version: str, **texts: str) -> Path:
    """Return the package as another version, with a text at the end of some files, in ``folder``.

    texts  of PLACES: name -> text
    """
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "-R", package.path, tree], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {version}", control.read_text()))
    own = version.partition("~")[0]
    init = tree / "usr" / "lib" / "edge-camera" / "edge" / "__init__.py"
    init.write_text(f'"""Changed."""\n\n__version__ = "{own}"\n')
    for name, text in texts.items():
        with (tree / PLACES[name]).open("a") as stream:
            stream.write(text)
    made = folder / f"edge-camera_{version}_amd64.deb"
    build = ["dpkg-deb", "-Znone", "--root-owner-group", "-b", str(tree), str(made)]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    return made


if __name__ == "__main__":
    _, of, on = sys.argv
    both = [find(DIST, of, on, name).depends() for name in (DAEMON, WEB)]
    print("\n".join(sorted({*both[0], *both[1]} - {DAEMON})))
