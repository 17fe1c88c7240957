"""Names of cases and classes, as files and folders have them. Pure."""

from __future__ import annotations

import re
import time
from typing import Final

from edge.errors import EdgeError

PICTURE: Final = ".jpg"
SIDECAR: Final = ".json"
SORTED: Final = "sorted"
"""The folder of the classes."""
UNSORTED: Final = "unsorted"
"""No class: what is sorted into it goes back to where it was."""
NAME_MAX_BYTES: Final = 128
LABEL_MAX: Final = 64
"""Characters of a class, as `edge teach` takes them."""
LABELS_MAX: Final = 100
"""Classes that a folder of cases may have."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)


def new(time_s: float, sequence: int) -> str:
    """Return the name of a case: in the order of time, as text. UTC, milliseconds."""
    thousandths = int(time_s * 1000)
    moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(thousandths // 1000))
    return f"{moment}-{thousandths % 1000:03d}-{sequence}"


def is_name(name: str) -> bool:
    """Return whether a case may have this name."""
    return len(name) <= NAME_MAX_BYTES and _NAME.fullmatch(name) is not None


def is_label(label: str) -> bool:
    """Return whether a class may have this name: one folder, printable, not hidden."""
    plain = label.isprintable() and label.strip() == label and "/" not in label
    short = 0 < len(label) <= LABEL_MAX
    return plain and short and len(label.encode()) <= NAME_MAX_BYTES and label[0] != "."


def check_label(label: str) -> str:
    """Return the class that a person names, empty for ``unsorted``. Raises EdgeError."""
    if not is_label(label):
        raise EdgeError(
            "not a class",
            expected=f"one folder's name of at most {LABEL_MAX} printable characters and"
            f" {NAME_MAX_BYTES} bytes, not beginning with a dot",
            got=label,
        )
    return "" if label == UNSORTED else label


def stem(file: str) -> str:
    """Return the case that a person means: its name, or the path of one of its files."""
    name = file.rpartition("/")[2]
    for ending in (PICTURE, SIDECAR):
        name = name.removesuffix(ending)
    return name
