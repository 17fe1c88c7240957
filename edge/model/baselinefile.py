"""The file of a baseline beside a card: read and checked as a head's is, and written.

An .npz, not tables of the card: with a head it has two rows of as many values as the network has
features. See ``edge.baseline.build`` for its arrays.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from edge import baseline, files
from edge.baseline import Baseline
from edge.errors import ModelError
from edge.model import npz
from edge.model.card import BaselineFile

NAME: Final = "baseline.npz"
MAX_BYTES: Final = 1_048_576
"""Of the file, and of what it unpacks to: 65,536 features have 525 kB."""
ARRAYS: Final = ("edges", "shares", "total", "mean", "std")


def read(path: Path, sha256: str, features_total: int) -> Baseline:
    """Return the baseline in ``path``. Raises ModelError, also where its checksum is another.

    features_total  F of the network below a head; 0 without one
    """
    try:
        content = files.read(path, MAX_BYTES)
    except OSError as exc:
        raise ModelError(f"the baseline cannot be read: {exc.strerror}", where=str(path)) from exc
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ModelError(
            "the baseline's file is not the one that its card describes",
            where=str(path),
            expected=f"sha256 {sha256[:16]}...",
            got=f"{digest[:16]}... ({len(content)} bytes)",
            hint="restore the file, or remove [baseline] from the card",
        )
    try:
        found = baseline.checked(npz.read(content, ARRAYS, MAX_BYTES, str(path)))
    except ModelError:
        raise
    except ValueError as exc:
        raise ModelError(f"the baseline cannot be used: {exc}", where=str(path)) from exc
    if found.mean is not None and len(found.mean) != features_total:
        raise ModelError(
            "the baseline does not fit the network's features",
            where=str(path),
            expected=str(features_total) if features_total else "none: the model has no head",
            got=str(len(found.mean)),
        )
    return found


def write(folder: Path, made: Baseline) -> BaselineFile:
    """Write a baseline's file beside a card; return the card's table [baseline]."""
    content = baseline.encode(made)
    (folder / NAME).write_bytes(content)
    return BaselineFile(NAME, hashlib.sha256(content).hexdigest())
