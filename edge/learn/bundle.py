"""What was taught as a folder: card, head, golden picture, report. Whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge.learn import report
from edge.learn.page import page
from edge.learn.teach import Taught

CARD: Final = "model.toml"
HEAD: Final = "head.npz"
Table = Mapping[str, Any]


def write(folder: Path, taught: Taught, card: Table, thumbnails: Mapping[str, bytes]) -> None:
    """Write head and report into ``folder``, and the card without a golden picture.

    card        its keys beyond those of what was taught: name, version, backbone, sha256,
                background, preprocessing
    thumbnails  of suspects, by name
    """
    content = head(taught)
    (folder / HEAD).write_bytes(content)
    found = report.figures(taught)
    (folder / "report.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / "report.html").write_text(page(str(card["name"]), found, thumbnails))
    low, high = found["interval"]
    tables = {
        **card,
        "labels": list(taught.samples.labels),
        "head": {"file": HEAD, "sha256": hashlib.sha256(content).hexdigest()},
        "smoothing": found["smoothing"],
        "accuracy": {
            "cross-validation": {
                "accuracy": found["accuracy"],
                "low": low,
                "high": high,
                "images": len(taught.samples.names),
            }
        },
    }
    (folder / CARD).write_text(toml(tables))


def head(taught: Taught) -> bytes:
    """Return the head's file: float32 arrays ``weights`` (F, C) and ``bias`` (C,)."""
    out = io.BytesIO()
    np.savez(
        out,
        weights=taught.head.weights.astype(np.float32),
        bias=taught.head.bias.astype(np.float32),
    )
    return out.getvalue()


def toml(tables: Table) -> str:
    """Return keys and tables as TOML: texts, numbers, lists of these, tables of tables."""
    return "\n".join(_lines(tables, ""))


def _lines(tables: Table, path: str) -> list[str]:
    plain = [f"{_key(k)} = {_value(v)}" for k, v in tables.items() if not isinstance(v, Mapping)]
    lines = [*([f"\n[{path}]"] if path and plain else []), *plain]
    for key, value in tables.items():
        if isinstance(value, Mapping):
            lines += _lines(value, f"{path}.{_key(key)}" if path else _key(key))
    return [*lines, ""] if not path else lines


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(one) for one in value)}]"
    return json.dumps(value, ensure_ascii=False)
