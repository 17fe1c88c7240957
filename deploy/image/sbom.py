"""What is on the card, package by package, as CycloneDX 1.5 JSON. The same input, the same text."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

Package = dict[str, str]
"""Fields of dpkg's status file -> their first line."""
SHIPPED: Final = "edge-camera"


def installed(status: str) -> Iterator[Package]:
    """Yield what dpkg's status file says is installed, in order of names."""
    found = []
    for block in status.split("\n\n"):
        fields = {}
        for line in block.splitlines():
            name, mark, value = line.partition(":")
            if mark and not line[0].isspace():
                fields[name] = value.strip()
        if fields.get("Status", "").endswith(" installed"):
            found.append(fields)
    yield from sorted(found, key=lambda package: (package["Package"], package["Architecture"]))


def cyclonedx(status: str, name: str, suite: str, sha256: str, epoch: int) -> str:
    """Return the document.

    status  dpkg's status file
    name    the image's file
    sha256  of that image
    """
    when = datetime.datetime.fromtimestamp(epoch, datetime.UTC)
    document: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": when.isoformat().replace("+00:00", "Z"),
            "component": {
                "type": "operating-system",
                "bom-ref": name,
                "name": name,
                "version": suite,
                "hashes": [{"alg": "SHA-256", "content": sha256}],
            },
        },
        "components": [_component(package, suite) for package in installed(status)],
    }
    text = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, text)}"
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


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
