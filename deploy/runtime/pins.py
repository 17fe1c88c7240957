"""The pinned sources of a build: its sources.toml, read and checked.

Knows neither network nor compiler. Every error of the build is a BuildError, whose exit status
says what is at fault: 64 the arguments, 65 a file that is not the pinned one, 69 something missing
(a tool, a file on the mirror), 70 the build itself, 74 no space.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.errors import EdgeError

VERSION: Final = "2.14.1+edge3"
"""The wheel's version: TensorFlow's, and the number of this recipe."""
EPOCH: Final = 1795478400
"""The date of every file in the wheel, seconds: 2026-11-24. SOURCE_DATE_EPOCH overrides it."""
ARCHES: Final = {"arm64": "aarch64", "armhf": "armv7l", "amd64": "x86_64"}
"""Debian's name of an architecture -> Python's."""
TRIPLES: Final = {
    "arm64": "aarch64-linux-gnu",
    "armhf": "arm-linux-gnueabihf",
    "amd64": "x86_64-linux-gnu",
}
PYTHONS: Final = ("3.11", "3.13")
"""Debian 12's and Debian 13's, also those of Raspberry Pi OS."""
HERE: Final = Path(__file__).resolve().parent
FULL: Final = "No space left"
"""The message of a full disk in the C locale."""


class BuildError(EdgeError):
    """A build, a package or a write has failed; ``status`` is the exit status."""

    def __init__(
        self,
        status: int,
        what: str,
        *,
        where: str = "",
        expected: str = "",
        got: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(what, where=where, expected=expected, got=got, hint=hint)
        self.status = status


def no_space(where: str) -> BuildError:
    """Return the error for FULL in a program's output, or for ENOSPC."""
    return BuildError(
        74, "no space left", where=where, hint="free some space and run it again: it continues"
    )


@dataclass(frozen=True, slots=True)
class Source:
    """One pinned file.

    name     folder it is unpacked into
    version  upstream's
    path     below the mirror's pool/main/, or pypi/ and the name of a source archive on PyPI
    sha256   of the file
    license  SPDX expression
    texts    files in it with the licence's text; none where nothing of it is linked in
    arch     Debian architecture it is for; empty for all
    strip    leading folders inside the tarball
    """

    name: str
    version: str
    path: str
    sha256: str
    license: str
    texts: tuple[str, ...]
    arch: str = ""
    strip: int = 1

    @property
    def file(self) -> str:
        """The file's own name."""
        return self.path.rpartition("/")[2]

    @property
    def is_package(self) -> bool:
        """Whether it is a Debian package and not a tarball."""
        return self.file.endswith(".deb")

    @property
    def is_on_pypi(self) -> bool:
        """Whether PyPI has it and Debian's mirror has not."""
        return self.path.startswith("pypi/")


def sources(arch: str, path: Path = HERE / "sources.toml") -> tuple[Source, ...]:
    """Return the sources of a build for ``arch``."""
    entries = tomllib.loads(path.read_text())["source"]
    parsed = (Source(**{**entry, "texts": tuple(entry["texts"])}) for entry in entries)
    return tuple(source for source in parsed if source.arch in ("", arch))


def sha256(path: Path) -> str:
    """Return a file's checksum in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check(source: Source, path: Path) -> None:
    """Raise unless ``path`` holds what ``source`` pins."""
    got = sha256(path)
    if got != source.sha256:
        raise BuildError(
            65,
            "not the pinned file",
            where=str(path),
            expected=f"sha256 {source.sha256}",
            got=got,
            hint="delete it, or correct its sources.toml",
        )
