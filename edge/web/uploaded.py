"""Uploaded pictures become cases: decoded within limits, made small, encoded, with a side-car.

Rule 1: nothing of a file is kept as it came: no metadata, no bytes after the picture.
Rule 2: within `cases.bytes`, `cases.free_bytes` and the number of cases, as imports are.

The side-car has the time that EXIF or the file's name gives; 0 where neither does, so that teaching
does not take pictures that came together for pictures of one moment. The case is named after now,
not after that time: the daemon drops the oldest unsorted ones by name. On threads of work.py.
"""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from edge.cases import names
from edge.cases import sidecar as sidecars
from edge.cases.index import CASES_MAX
from edge.cases.sidecar import SideCar
from edge.cases.store import Store
from edge.config import CasesConfig
from edge.errors import EdgeError
from edge.fingerprint import fingerprint
from edge.learn import times
from edge.pictures import picture
from edge.web import thumbnails
from edge.web.answers import Refused
from edge.web.case_changes import LOCK_S, Added, Skipped
from edge.web.uploads import File

REASON: Final = "upload"
QUALITY: Final = 90
"""As that of the daemon's own cases."""


def take(folder: Path, config: CasesConfig, files: Sequence[tuple[str, File]], label: str) -> Added:
    """Add pictures to a class, empty for unsorted; each one, or why not.

    files  name and content
    Raises EdgeError, OSError where no more can be added.
    """
    added = Added(0, [], [])
    for number, (name, content) in enumerate(files):
        try:
            jpeg, sidecar = _case(content, name, config, number)
            added.names.append(_add(folder, config, jpeg, sidecar, label))
            added.added += 1
        except (picture.Unreadable, Refused) as exc:
            added.skipped.append(Skipped(name, str(exc)))
        except (EdgeError, OSError) as exc:
            if not added.added:
                raise
            reason = getattr(exc, "strerror", "") or str(exc)
            added.skipped += [Skipped(one, reason) for one, _ in files[number:]]
            break
    return added


def _case(content: File, name: str, config: CasesConfig, number: int) -> tuple[bytes, SideCar]:
    """Return picture and side-car of a case. Raises Refused, Unreadable."""
    if isinstance(content, Refused):
        raise content
    taken_s = times.of_upload(bytes(content[: times.HEAD_BYTES]), name)
    pixels = thumbnails.decoded(np.frombuffer(content, np.uint8), config.side)
    scale = config.side / max(pixels.shape[:2])
    if scale < 1:
        size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    known = math.isfinite(taken_s) and taken_s > 0
    sidecar = SideCar(
        schema=1,
        time=round(taken_s, 3) if known else 0.0,
        sequence=number,
        reason=REASON,
        label=None,
        scores={},
        model="",
        sha256="",
        fingerprint=f"{fingerprint(pixels):016x}",
    )
    jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    return jpeg, sidecar


def _add(folder: Path, config: CasesConfig, jpeg: bytes, sidecar: SideCar, label: str) -> str:
    """Write a case; return its name. Raises EdgeError, OSError where there is no room."""
    encoded = sidecars.encode(sidecar)
    with Store(folder, create=True, lock=True, lock_s=LOCK_S) as store:
        _check_room(store, config, len(jpeg) + len(encoded), label)
        base = unique = names.new(time.time(), sidecar.sequence)
        number = 1
        while store.where(unique) is not None:
            unique, number = f"{base}-{number}", number + 1
        store.add(unique, jpeg, encoded, label)
    return unique


def _check_room(store: Store, config: CasesConfig, size: int, label: str) -> None:
    held, count = store.sorted_size()
    if not label:  # of the others, the daemon drops the oldest; without one they must be bounded
        with store.folder("") as unsorted:
            found = [(ending, one) for _, ending, one in store.files(unsorted)]
        held, count = held + sum(one for _, one in found), count + len(found)
    there = store.labels()
    if label and label not in there and len(there) >= names.LABELS_MAX:
        raise EdgeError(f"{names.LABELS_MAX} classes are there already", got=label)
    if held + size > config.bytes or count >= CASES_MAX:
        raise EdgeError(
            "no room for another picture",
            where=str(store.path),
            expected=f"at most {config.bytes} bytes (cases.bytes) and {CASES_MAX} cases",
            got=f"{held + size} bytes, {count + 1} cases",
            hint="export and delete some",
        )
    if store.root.free_bytes() - size < config.free_bytes:
        raise OSError(errno.ENOSPC, f"less than {config.free_bytes} bytes (cases.free_bytes) free")
