"""The SD card's list of packages, as CycloneDX 1.5 JSON. The same input gives the same text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from deploy.runtime.sbom import document, hashes

Package = dict[str, str]
"""Field of dpkg's status file -> its first line."""
SHIPPED: Final = "edge-camera"


def installed(status: str) -> Iterator[Package]:
    """Yield the installed packages of dpkg's status file, in order of names."""
    packages = []
    for block in status.split("\n\n"):
        fields = {}
        for line in block.splitlines():
            name, mark, value = line.partition(":")
            if mark and not line[0].isspace():
                fields[name] = value.strip()
        if fields.get("Status", "").endswith(" installed"):
            packages.append(fields)
    yield from sorted(packages, key=lambda package: (package["Package"], package["Architecture"]))


def cyclonedx(status: str, name: str, suite: str, sha256: str, epoch: int) -> str:
    """Return the document.

    status  dpkg's status file
    name    the image's file
    sha256  of that image
    """
    component = {
        "type": "operating-system",
        "bom-ref": name,
        "name": name,
        "version": suite,
        "hashes": hashes(sha256),
    }
    return document(
        component, epoch, components=[_component(package, suite) for package in installed(status)]
    )


def _component(package: Package, suite: str) -> dict[str, Any]:
    name, version, arch = package["Package"], package["Version"], package["Architecture"]
    from_debian = "" if name == SHIPPED else "debian/"
    reference = f"pkg:deb/{from_debian}{quote(name)}@{quote(version)}?arch={arch}"
    if from_debian:
        reference += f"&distro={suite}"
    source = package.get("Source", name)
    return {
        "type": "application" if name == SHIPPED else "library",
        "bom-ref": reference,
        "name": name,
        "version": version,
        "purl": reference,
        "properties": [{"name": "source", "value": source}],
    }
