"""The wheel's bill of materials, as CycloneDX 1.5 JSON; the envelope of every such document.

Knows no files: names, versions and checksums come from the caller. The same input gives the same
text: the serial number is computed from the content, the date is an argument.
"""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from deploy.runtime.pins import Source


def cyclonedx(
    name: str,
    version: str,
    materials: Sequence[tuple[Source, bool]],
    files: Mapping[str, str],
    machine: str,
    epoch: int,
) -> str:
    """Return the document.

    materials  its sources, and whether any of each is linked in (otherwise a build tool)
    files      sha256 of the binaries in the wheel, by name
    """
    reference = f"pkg:pypi/{name}@{quote(version)}"
    component = {
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "version": version,
        "purl": reference,
        "properties": [{"name": "machine", "value": machine}],
        "components": [
            {"type": "file", "name": file, "hashes": hashes(digest)}
            for file, digest in sorted(files.items())
        ],
    }
    linked_in = [_reference(source) for source, linked in materials if linked]
    return document(
        component,
        epoch,
        components=[_component(source, linked) for source, linked in materials],
        dependencies=[{"ref": reference, "dependsOn": linked_in}],
    )


def document(component: Mapping[str, Any], epoch: int, **parts: Any) -> str:
    """Return the document about ``component``, dated ``epoch``, with its other top-level parts."""
    when = datetime.datetime.fromtimestamp(epoch, datetime.UTC)
    made: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": when.isoformat().replace("+00:00", "Z"),
            "component": component,
        },
        **parts,
    }
    text = json.dumps(made, sort_keys=True)
    made["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, text)}"
    return json.dumps(made, indent=1, sort_keys=True) + "\n"


def _component(source: Source, linked: bool) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": _reference(source),
        "name": source.name,
        "version": source.version,
        "scope": "required" if linked else "excluded",
        "licenses": [{"expression": source.license}],
        "hashes": hashes(source.sha256),
        "purl": _reference(source),
        "properties": [{"name": "file", "value": source.file}],
    }


def _reference(source: Source) -> str:
    """Return the package URL: PyPI's, or the Debian package, or the source package of a tarball."""
    if source.is_on_pypi:
        project, _, version = source.file.removesuffix(".tar.gz").rpartition("-")
        return f"pkg:pypi/{project.replace('_', '-')}@{quote(version)}"
    package, _, version = source.file.partition("_")
    arch = "source"
    if source.is_package:
        version, arch = version.removesuffix(".deb").rsplit("_", 1)
    else:
        version = version.partition(".orig.")[0]
    return f"pkg:deb/debian/{package}@{quote(version)}?arch={arch}"


def hashes(sha256: str) -> list[dict[str, str]]:
    """Return a checksum in the document's form."""
    return [{"alg": "SHA-256", "content": sha256}]
