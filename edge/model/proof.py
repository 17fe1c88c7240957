"""Models that have proven themselves, remembered by checksum: in the process and in a small file.

A proof is a digest of all that was proven: the model's file, its card, the runtime, its settings.
Without the file each model is tried once more; it is written whole or not at all, and never waited
for.

Knows no model. Runs on the caller's thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Final

from edge import files

NAME: Final = "proven.json"
KEPT: Final = 64
"""Proofs in the file; the oldest is dropped."""
_process: Final[set[str]] = set()


def digest(**facts: object) -> str:
    """Return the proof of ``facts``, JSON values."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def cache_folder() -> Path | None:
    """Return this program's folder in the user's cache; None where there is no home.

    Source: XDG Base Directory Specification, XDG_CACHE_HOME.
    """
    place = os.environ.get("XDG_CACHE_HOME", "")
    with contextlib.suppress(RuntimeError):
        base = Path(place) if os.path.isabs(place) else Path.home() / ".cache"
        return base / "edge-camera"
    return None


def known(proof: str, folder: Path | None) -> bool:
    """Return whether ``proof`` is remembered, by this process or in ``folder``."""
    return proof in _process or (folder is not None and proof in _read(folder / NAME))


def remember(proof: str, folder: Path | None) -> None:
    """Keep ``proof`` in this process, and in ``folder`` where that can be written."""
    _process.add(proof)
    if folder is None:
        return
    file, part = folder / NAME, folder / f"{NAME}.part"
    kept = [other for other in _read(file) if other != proof]
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        with part.open("x") as out:  # "x" never opens a pipe that lies there
            out.write(json.dumps([*kept[1 - KEPT :], proof], indent=0) + "\n")
        part.replace(file)


def _read(file: Path) -> list[str]:
    """Return the proofs in ``file``, oldest first; none where it cannot be read."""
    try:
        proofs = json.loads(files.read_text(file))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(proofs, list):
        return []
    return [proof for proof in proofs if isinstance(proof, str)]
