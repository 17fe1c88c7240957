"""The wheel: the extension, TensorFlow's Python files, licences and the bill of materials.

The same inputs give the same bytes: sorted entries, one date, no owner.

Knows neither compiler nor network. Source: PEP 427 (wheels), 639 (licences), 770 (SBOMs).
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from deploy.runtime import sbom
from deploy.runtime.pins import ARCHES, VERSION, Source

NAME: Final = "tflite_runtime"
EXTENSION: Final = "_pywrap_tensorflow_interpreter_wrapper.so"
MODULES: Final = (
    "interpreter.py",
    "metrics/metrics_interface.py",
    "metrics/metrics_portable.py",
)
"""Files of tensorflow/lite/python; the wheel has them in one folder, as upstream's."""
OWN: Final = ("LICENSE", "Apache-2.0")
"""The recipe's own licence: the name of its text in the wheel, and SPDX."""


def tag(python: str, platform: str) -> str:
    """Return the wheel's tag, as cp311-cp311-manylinux_2_35_aarch64."""
    interpreter = "cp" + python.replace(".", "")
    return f"{interpreter}-{interpreter}-{platform}"


def expression(linked: Sequence[Source]) -> str:
    """Return one SPDX expression for everything linked in."""
    return " AND ".join(sorted({OWN[1], *(source.license for source in linked)}))


def metadata(python: str, linked: Sequence[Source], files: Sequence[str]) -> str:
    """Return METADATA.

    files  names of the licence texts below licenses/
    """
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {NAME.replace('_', '-')}",
        f"Version: {VERSION}",
        "Summary: TensorFlow Lite's interpreter for the Raspberry Pi 4, XNNPACK on for int8",
        f"License-Expression: {expression(linked)}",
        *(f"License-File: {name}" for name in files),
        "Classifier: Operating System :: POSIX :: Linux",
        f"Classifier: Programming Language :: Python :: {python}",
        f"Requires-Python: =={python}.*",
        "Requires-Dist: numpy>=1.23.2",
        "Description-Content-Type: text/plain",
        "",
        "The same modules as upstream's tflite-runtime 2.14.0. Linked in statically:",
        *(f"{source.name} {source.version} ({source.license})" for source in linked),
    ]
    return "\n".join(lines) + "\n"


def contents(
    python: str,
    platform: str,
    extension: bytes,
    modules: Mapping[str, bytes],
    pinned: Sequence[Source],
    licences: Mapping[str, Sequence[tuple[str, bytes]]],
    arch: str,
    epoch: int,
) -> dict[str, bytes]:
    """Return every file of the wheel but RECORD.

    modules   the Python files, by their names in the package
    licences  by source: names and words; empty where nothing of it is linked in
    """
    info = f"{NAME}-{VERSION}.dist-info"
    linked = [source for source in pinned if licences.get(source.name)]
    texts = {OWN[0]: (Path(__file__).parents[2] / "LICENSE").read_bytes()}
    for source in linked:
        for name, words in licences[source.name]:
            texts[f"{source.name}/{name}"] = words
    wheel = ["Wheel-Version: 1.0", "Generator: edge", "Root-Is-Purelib: false"]
    wheel.append(f"Tag: {tag(python, platform)}")
    files = {
        f"{NAME}/__init__.py": f'__version__ = "{VERSION}"\n__git_version__ = ""\n'.encode(),
        f"{NAME}/{EXTENSION}": extension,
        **{f"{NAME}/{name}": words for name, words in modules.items()},
        f"{info}/METADATA": metadata(python, linked, sorted(texts)).encode(),
        f"{info}/WHEEL": ("\n".join(wheel) + "\n").encode(),
        f"{info}/top_level.txt": f"{NAME}\n".encode(),
        **{f"{info}/licenses/{name}": words for name, words in texts.items()},
    }
    digests = {name: hashlib.sha256(words).hexdigest() for name, words in files.items()}
    bill = sbom.cyclonedx(
        NAME.replace("_", "-"),
        VERSION,
        [(source, bool(licences.get(source.name))) for source in pinned],
        {f"{NAME}/{EXTENSION}": digests[f"{NAME}/{EXTENSION}"]},
        ARCHES[arch],
        epoch,
    )
    files[f"{info}/sboms/{NAME}.cdx.json"] = bill.encode()
    return files


def write(folder: Path, python: str, platform: str, files: dict[str, bytes], epoch: int) -> Path:
    """Write the wheel with its RECORD into ``folder`` and return its path."""
    return archive(folder / f"{NAME}-{VERSION}-{tag(python, platform)}.whl", files, epoch)


def archive(path: Path, files: dict[str, bytes], epoch: int) -> Path:
    """Write the wheel ``path`` with its RECORD and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = "-".join(path.name.split("-")[:2]) + ".dist-info/RECORD"
    rows = [(name, _digest(words), len(words)) for name, words in sorted(files.items())]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([*rows, (record, "", "")])
    when = time.gmtime(max(epoch, 315532800))[:6]  # a zip begins in 1980
    part = path.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as wheel:
        for name, words in [*sorted(files.items()), (record, text.getvalue().encode())]:
            entry = zipfile.ZipInfo(name, when)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if name.endswith(".so") else 0o644) << 16
            wheel.writestr(entry, words)
    part.replace(path)
    return path


def _digest(words: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(words).digest())
    return f"sha256={digest.rstrip(b'=').decode()}"
