"""The static page: its files, read once, each with its type and a tag of its content.

Rule: only files that are there at the start are served; no path from outside meets the disk.
"""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge import files

FOLDER: Final = Path(__file__).parent / "static"
FILE_MAX: Final = 1_000_000
MOST: Final = 100
TEXTS: Final = ("text/", "application/javascript", "application/json", "image/svg+xml")


@dataclass(frozen=True, slots=True)
class Page:
    """One file. tag: changes with its content."""

    content: bytes
    kind: str
    tag: str


def pages(folder: Path = FOLDER) -> dict[str, Page]:
    """Return path -> file; ``/`` is index.html."""
    found: dict[str, Page] = {}
    for file in sorted(folder.rglob("*"))[:MOST]:
        if file.is_file() and not file.name.startswith("."):
            content = files.read(file, FILE_MAX)
            name = "/" + file.relative_to(folder).as_posix()
            page = Page(content, _kind(name), f'"{hashlib.sha256(content).hexdigest()[:16]}"')
            found["/" if name == "/index.html" else name] = page
    return found


def _kind(name: str) -> str:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith(TEXTS) else kind
