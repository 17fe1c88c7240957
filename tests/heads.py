"""Backbones and heads for the tests: the colour network's features, and what can be made of them.

The features are 1 + red, green, blue; 1 - red, green, blue; 1, 1, each colour from -1 to 1.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tests.conftest import MODELS

FEATURES: Final = 8
LABELS: Final = ("red", "green", "blue")
COLORS: Final = {"red": (0, 0, 200), "green": (0, 200, 0), "blue": (200, 0, 0)}
"""BGR."""


def weights() -> NDArray[np.float32]:
    """Return the map with which the colour that prevails has the highest score."""
    result = np.zeros((FEATURES, 3), np.float32)
    result[[0, 1, 2], [0, 1, 2]] = 3.0
    return result


def arrays(**changes: Any) -> dict[str, Any]:
    """Return the arrays of a good head, some replaced; None: left out."""
    made = {"weights": weights(), "bias": np.zeros(3, np.float32)} | changes
    return {name: array for name, array in made.items() if array is not None}


def save(file: Path, **changes: Any) -> str:
    """Write a head's file; return its checksum."""
    np.savez(file, **arrays(**changes))
    return checksum(file)


def npz(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip of these files, the same bytes every time."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return made.getvalue()


def npy(array: Any) -> bytes:
    """Return an array's .npy."""
    made = io.BytesIO()
    np.save(made, array)
    return made.getvalue()


def checksum(file: Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def card(folder: Path, lines: dict[str, str], more: str = "") -> Path:
    """Write a card into ``folder``; a line that is empty is left out."""
    text = "".join(f"{key} = {value}\n" for key, value in lines.items() if value)
    (folder / "model.toml").write_text(text + more)
    return folder


def backbone(folder: Path, more: str = "", **changes: str) -> Path:
    """Return ``folder`` with the feature network and its card."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(MODELS / "features.tflite", folder)
    lines = {"name": '"features"', "file": '"features.tflite"'} | changes
    return card(folder, lines, more or '[output]\nactivation = "features"\n')


def bundle(folder: Path, on: str = "../features", more: str = "", **changes: str) -> Path:
    """Return ``folder`` with a head on the backbone ``on``, and its card."""
    folder.mkdir(parents=True, exist_ok=True)
    head = save(folder / "head.npz")
    lines = {
        "name": '"colours"',
        "backbone": f'"{on}"',
        "labels": '["red", "green", "blue"]',
        "sha256": f'"{checksum(MODELS / "features.tflite")}"',
        "head": f'{{file = "head.npz", sha256 = "{head}"}}',
    }
    return card(folder, lines | changes, more)
