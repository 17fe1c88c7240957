"""Find a model and read its card, ``model.toml``; knows no TFLite.

A model is given as a folder with a card, a card, or a ``.tflite`` file. A file without a card
beside it gets a default one: its labels come from ``labels.txt`` beside it, or from the label
file that TFLite metadata packs into the model itself.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path
from typing import Final

from edge import files, toml
from edge.errors import ModelError
from edge.modelcard import MODEL_MAX_BYTES, ModelCard

CARD: Final = "model.toml"
_HERE: Final = Path(__file__).resolve().parent


def shipped() -> Path:
    """Return the folder of the model that comes with this program."""
    installed = _HERE / "catdog"
    return installed if installed.is_dir() else _HERE.parent / "models" / "catdog"


def find(model: str) -> tuple[ModelCard, Path, str]:
    """Return the card of ``model``, the path of its ``.tflite`` file and the file's sha256.

    model  a folder, a card or a model file; empty for the shipped model
    Raises ModelError where something is missing or the file is not the one the card means.
    """
    try:
        card, path, sha256 = _find(Path(model).expanduser() if model else shipped())
    except ModelError:
        raise
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise ModelError(f"the model cannot be read: {reason}", where=model) from exc
    if len(set(card.labels)) != len(card.labels) or not all(card.labels):
        raise ModelError(
            "labels must be distinct and not empty",
            where=str(path),
            mend="tell equal ones apart, as `crane (bird)` and `crane (machine)`",
        )
    return card, path, sha256


def _find(path: Path) -> tuple[ModelCard, Path, str]:
    if path.is_dir():
        path = path / CARD
    if not path.exists():
        raise ModelError(
            "model not found",
            where=str(path),
            mend=f"give a .tflite file, or a folder with a {CARD} in it",
        )
    if path.suffix == ".toml":
        card = read(path)
        path = path.parent / card.file
        if not path.exists():
            raise ModelError("the card's model file is missing", where=str(path))
    elif (path.parent / CARD).is_file() and read(path.parent / CARD).file == path.name:
        card = read(path.parent / CARD)
    else:
        sha256 = _checked(path, "")  # before it is opened in search of labels
        return ModelCard(name=path.stem, file=path.name, labels=_labels(path)), path, sha256
    return card, path, _checked(path, card.sha256)


def read(path: Path) -> ModelCard:
    """Return the card in the file ``path``."""
    card = toml.convert(toml.read(path, ModelError), ModelCard, str(path), ModelError)
    if card.golden and len(card.golden.scores) != len(card.labels):
        raise ModelError(
            "wrong number of scores",
            where=f"{path}: golden.scores",
            expected=f"{len(card.labels)}, one per label",
            got=str(len(card.golden.scores)),
        )
    return card


def _checked(path: Path, sha256: str) -> str:
    """Return the sha256 of ``path``, which must be a TFLite file and have ``sha256`` if given."""
    came, head, size = _hashed(path)
    if sha256 and came != sha256:
        raise ModelError(
            "model file is not the one its card describes",
            where=str(path),
            expected=f"sha256 {sha256[:16]}...",
            got=f"{came[:16]}... ({size} bytes)",
            mend="restore the file, or correct `sha256` in the card if the change is meant",
        )
    if head[4:8] != b"TFL3":
        raise ModelError(
            "not a TFLite model",
            where=str(path),
            expected="the identifier TFL3 at byte 4",
            got=f"{head[4:8]!r} in {size} bytes",
            mend="convert the model to .tflite first",
        )
    return came


def _hashed(path: Path) -> tuple[str, bytes, int]:
    """Return the sha256 of the file ``path``, its first bytes and its size; it is never held."""
    file = files.open_regular(path)
    try:
        size, head, hashed = os.fstat(file).st_size, b"", hashlib.sha256()
        if size <= MODEL_MAX_BYTES:
            size = 0
            while size <= MODEL_MAX_BYTES and (part := os.read(file, 1 << 20)):
                head, size = head or part[:8], size + len(part)
                hashed.update(part)
    finally:
        os.close(file)
    if size > MODEL_MAX_BYTES:
        raise ModelError(
            "model file is too large",
            where=str(path),
            expected=f"at most {MODEL_MAX_BYTES} bytes",
            got=str(size),
        )
    return hashed.hexdigest(), head, size


def _labels(path: Path) -> tuple[str, ...]:
    """Return the labels of a model that has no card."""
    beside = path.parent / "labels.txt"
    if beside.is_file():
        text = beside.read_text(encoding="utf-8", errors="replace")
    else:
        text = _packed_labels(path)
    labels = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not labels:
        raise ModelError(
            "model has no labels",
            where=str(path),
            mend=f"put a labels.txt (one per line, in output order) or a {CARD} beside it",
        )
    return labels


def _packed_labels(path: Path) -> str:
    """Return the first text file that TFLite metadata appended to the model as a zip."""
    if not zipfile.is_zipfile(path):
        return ""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".txt")]
        return archive.read(names[0]).decode("utf-8", "replace") if names else ""
