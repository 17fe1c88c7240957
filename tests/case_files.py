"""Pictures, side-cars and archives of cases, for the tests; whole ones and hostile ones."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from edge.cases import sidecar as sidecars
from edge.cases.sidecar import SideCar
from edge.cases.store import Store


def pixels(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Return a picture, (H, W, 3) BGR uint8, that looks like that of no other seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(picture, np.uint8)


def jpeg(seed: int = 0) -> bytes:
    """Return a small JPEG."""
    return cv2.imencode(".jpg", pixels(seed))[1].tobytes()


def sidecar(number: int = 0, **changes: object) -> SideCar:
    """Return the side-car of a case; ``changes`` replace fields."""
    fields: dict[str, object] = {
        "schema": 1,
        "time": 1.8e9 + number,
        "sequence": number,
        "reason": "margin",
        "label": "open",
        "scores": {"open": 0.6, "closed": 0.4},
        "model": "gate 1",
        "sha256": "ab" * 32,
        "fingerprint": f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}",
    }
    return SideCar(**(fields | changes))  # type: ignore[arg-type]


def fill(folder: Path, count: int, label: str = "", first: int = 0) -> list[str]:
    """Put cases into ``folder``, through the store; return their names, oldest first."""
    made = [f"c{number:06d}" for number in range(first, first + count)]
    with Store(folder, create=True, lock=True) as store:
        for number, name in enumerate(made, first):
            store.add(name, jpeg(number), sidecars.encode(sidecar(number)), label)
    return made


def raw_fill(folder: Path, count: int, size: int = 200) -> None:
    """Put cases into ``folder`` as plain files, fast."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"c{number:06d}.jpg").write_bytes(b"x" * size)
        (folder / f"c{number:06d}.json").write_bytes(sidecars.encode(sidecar(number)))


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return every file below ``folder`` with its content."""
    files = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return {
        str(path.relative_to(folder)): b"" if path.is_symlink() else path.read_bytes()
        for path in files
    }


def member(name: str, content: bytes = b"", **changes: object) -> tuple[tarfile.TarInfo, bytes]:
    """Return a member of an archive; ``changes`` replace what its header says."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content


def tar(path: Path, members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """Write an archive."""
    with tarfile.open(path, "w") as out:
        for info, content in members:
            out.addfile(info, io.BytesIO(content) if content else None)
    return path
