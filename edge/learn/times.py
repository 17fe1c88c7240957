"""When a picture was taken: as its side-car says, its EXIF, its name, or its file's date.

Everything here comes from outside: a side-car may hold anything, and a time is believed only
between 2000 and 2100. A side-car with the time 0 says that nobody knows it: of a picture that was
uploaded, the name has the time of that.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge import files

SIDECAR_MAX_BYTES: Final = 65_536
HEAD_BYTES: Final = 65_536
"""Of a JPEG's first segments, where EXIF is."""
FIRST_S, LAST_S = 946_684_800.0, 4_102_444_800.0
APART_S: Final = 600.0
"""Dates of files count only where they differ by more: a copy gives all of them the same."""
_EXIF: Final = re.compile(rb"(20\d\d):([01]\d):([0-3]\d) ([0-2]\d):([0-5]\d):([0-5]\d)\x00")
_NAME: Final = re.compile(
    r"(?<!\d)(20\d\d)[-_.]?([01]\d)[-_.]?([0-3]\d)[-_T. ]{0,3}"
    r"([0-2]\d)[-_:.h]?([0-5]\d)[-_:.m]?([0-5]\d)"
)


def of_all(paths: Sequence[Path]) -> NDArray[np.float64]:
    """Return the Unix time of each picture, (N,); NaN where nothing says it."""
    found = np.array([of(path) for path in paths])
    unknown = np.flatnonzero(~np.isfinite(found))
    if len(unknown) == len(paths) and not any(_sidecar(path) == 0 for path in paths):
        dates = np.array([_date(path) for path in paths])
        if len(dates) and np.isfinite(dates).all() and np.ptp(dates) > APART_S:
            return dates
    return found


def of(path: Path) -> float:
    """Return what side-car, EXIF or name say; NaN where none does."""
    if (said := _sidecar(path)) == 0:
        return math.nan
    for found in (said, _exif(path), _parsed(_NAME.search(path.name))):
        if math.isfinite(found):
            return found
    return math.nan


def _sidecar(path: Path) -> float:
    try:
        content = json.loads(files.read(path.with_suffix(".json"), SIDECAR_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return math.nan
    for key in ("time", "ts") if isinstance(content, dict) else ():
        value = content.get(key)
        if isinstance(value, (int, float)) and (value == 0 or FIRST_S < value < LAST_S):
            return float(value)
    return math.nan


def of_upload(content: bytes, name: str) -> float:
    """Return what a picture's EXIF or the name of its file say; NaN where neither does."""
    found = _parsed(_EXIF.search(content[:HEAD_BYTES]))
    return found if math.isfinite(found) else _parsed(_NAME.search(name))


def _exif(path: Path) -> float:
    if path.suffix.lower() not in (".jpg", ".jpeg"):
        return math.nan
    try:
        file = files.open_regular(path)
    except OSError:
        return math.nan
    with open(file, "rb") as head:
        return _parsed(_EXIF.search(head.read(HEAD_BYTES)))


def _parsed(found: re.Match[str] | re.Match[bytes] | None) -> float:
    """Return the local time that a pattern found."""
    if found is None:
        return math.nan
    try:
        year, month, day, hour, minute, second = (int(part) for part in found.groups())
        return datetime.datetime(year, month, day, hour, minute, second).timestamp()
    except (ValueError, OverflowError):
        return math.nan


def _date(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return math.nan
