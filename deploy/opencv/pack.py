"""What `make opencv` made: checked, and as a wheel with licences and a bill of materials.

The wheel is no general one: it binds Debian's own libraries, so that their security updates reach
it, and its plugin decodes only what cameras and films have. Knows neither compiler nor network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from deploy.opencv.recipe import MODULE, PLUGIN
from deploy.runtime import elf, sbom, wheel
from deploy.runtime.pins import ARCHES, BuildError, Source

NAME: Final = "edge_opencv"
VERSION: Final = "4.14.0+edge1"
"""OpenCV's version, and the number of this recipe."""
LIBRARIES: Final = {
    "libjpeg.so.62": "libjpeg62-turbo",
    "libpng16.so.16": "libpng16-16",
    "libwebp.so.7": "libwebp7",
    "libwebpmux.so.3": "libwebpmux3",
    "libwebpdemux.so.2": "libwebpdemux2",
    "libz.so.1": "zlib1g",
}
"""Libraries that may be bound -> their packages in Debian 12."""
LATER: Final = "libssl3"
"""The package of what the plugin loads when the first stream needs it: see openssl_later.c."""
RENAMED: Final = {"libpng16-16": "libpng16-16t64", "libssl3": "libssl3t64"}
"""Names in Debian 12 -> in Debian 13: there they have 64-bit times."""


def tag(arch: str) -> str:
    """Return the wheel's tag: every Python from 3.11 on, this machine's libraries."""
    return f"cp311-abi3-linux_{ARCHES[arch]}"


def file_name(arch: str) -> str:
    """Return the wheel's name."""
    return f"{NAME}-{VERSION}-{tag(arch)}.whl"


def check(built: Path, libraries: Path) -> None:
    """Raise BuildError where an object needs what Debian 12 lacks.

    libraries  the folder with Debian 12's, as far as they may be bound
    """
    exported = {one for name in LIBRARIES for one in elf.defined(libraries / name)}
    for name in (MODULE, PLUGIN):
        found = elf.needs(built / name)
        foreign = [
            one for one in found.libraries if not elf.SYSTEM.fullmatch(one) and one not in LIBRARIES
        ]
        if foreign:
            raise BuildError(70, f"{name} needs foreign libraries", got=", ".join(foreign))
        unknown = sorted(
            one for one in found.undefined - exported if not one.startswith(("Py", "_Py"))
        )
        if unknown:
            raise BuildError(70, f"{name} lacks symbols", got=", ".join(unknown[:5]))
        glibc = found.newest("GLIBC")
        if glibc[:2] > elf.NEWEST_GLIBC:
            got = ".".join(map(str, glibc))
            raise BuildError(
                69, f"{name} needs a newer glibc than Debian 12's", expected="2.36", got=got
            )


def files(
    built: Path,
    pinned: Sequence[Source],
    licences: Mapping[str, Sequence[Path]],
    arch: str,
    epoch: int,
) -> dict[str, bytes]:
    """Return every file of the wheel but RECORD.

    built     the folder with both objects
    licences  by source: the files with its licence; none where nothing of it is linked in
    """
    info = f"{NAME}-{VERSION}.dist-info"
    objects = {name: (built / name).read_bytes() for name in (MODULE, PLUGIN)}
    linked = [source for source in pinned if licences.get(source.name)]
    texts = {wheel.OWN[0]: (Path(__file__).parents[2] / "LICENSE").read_bytes()}
    for source in linked:
        for path in licences[source.name]:
            texts[f"{source.name}/{path.name}"] = path.read_bytes()
    bill = sbom.cyclonedx(
        NAME.replace("_", "-"),
        VERSION,
        [(source, bool(licences.get(source.name))) for source in pinned],
        {name: hashlib.sha256(content).hexdigest() for name, content in objects.items()},
        ARCHES[arch],
        epoch,
    )
    lines = [
        *("Metadata-Version: 2.4", f"Name: {NAME.replace('_', '-')}", f"Version: {VERSION}"),
        "Summary: A minimal OpenCV, with decoders for cameras and films, on Debian's libraries",
        f"License-Expression: {wheel.expression(linked)}",
        *(f"License-File: {name}" for name in sorted(texts)),
        *("Requires-Python: >=3.11", "Requires-Dist: numpy>=1.23.2"),
        *("Description-Content-Type: text/plain", "", "Linked in statically:"),
        *(f"{source.name} {source.version} ({source.license})" for source in linked),
    ]
    tags = ["Wheel-Version: 1.0", "Generator: edge", "Root-Is-Purelib: false", f"Tag: {tag(arch)}"]
    return {
        **objects,
        f"{info}/METADATA": ("\n".join(lines) + "\n").encode(),
        f"{info}/WHEEL": ("\n".join(tags) + "\n").encode(),
        **{f"{info}/licenses/{name}": content for name, content in texts.items()},
        f"{info}/sboms/{NAME}.cdx.json": bill.encode(),
    }


def depends(libraries: Iterable[str], suite: str) -> list[str]:
    """Return Debian's packages of ``libraries`` in ``suite``, without glibc's and GCC's."""
    names = {LIBRARIES[name] for name in libraries if name in LIBRARIES}
    names |= {LATER} if names else set()
    return sorted(RENAMED.get(name, name) if suite != "bookworm" else name for name in names)
