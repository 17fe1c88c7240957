"""What the daemon remembers of the folder of cases, so that keeping one does not read it again.

Rule 1: within ``Caps`` always; sorted cases are never dropped, of the others the oldest first.
Rule 2: the folder is read again once another process has changed it, at most every ``AGAIN_S``;
        what is remembered meanwhile may be wrong by what that process did, and removes nothing
        sorted.
Rule 3: memory is bounded: ``CASES_MAX`` names, ``HASHES_MAX`` hashes.

Runs on one thread at a time. Every method raises OSError.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.cases import sidecar as sidecars
from edge.cases.names import PICTURE
from edge.cases.sidecar import SideCar
from edge.cases.store import Store
from edge.cases.tidy import tidy
from edge.fingerprint import distance
from edge.frames import Seconds

AGAIN_S: Final = 10.0
CASES_MAX: Final = 20_000
"""However small they are."""
HASHES_MAX: Final = 1_024
"""The newest cases; older ones are no duplicates of anything."""
SPARE: Final = 2
"""Times a case's size that is dropped where the disk is full although it should not be."""


@dataclass(frozen=True, slots=True)
class Caps:
    """What the cases may take.

    bytes         of all files, sorted ones included
    free_bytes    of the disk that are left to others
    """

    bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Totals:
    """What there is: cases, and bytes of all their files; and how many were dropped so far."""

    unsorted: int = 0
    sorted: int = 0
    bytes: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Alike:
    """Which cases are duplicates: at most so many bits, of the last ``within_s``; 0 s: none."""

    bits: int
    within_s: Seconds


@dataclass(frozen=True, slots=True)
class Hash:
    """Of one of the newest cases. best: the label that its frame alone gave; empty for none."""

    time_s: float
    fingerprint: int
    best: str


class Index:
    """Writes cases into ``path``, within its caps."""

    def __init__(
        self, path: Path, caps: Caps, clock: Callable[[], Seconds] = time.monotonic
    ) -> None:
        self._path, self._caps, self._clock = path, caps, clock
        self._unsorted: dict[str, int] = {}  # oldest first -> bytes of both files
        self._sorted_bytes = self._sorted_total = 0
        self._hashes: deque[Hash] = deque(maxlen=HASHES_MAX)
        self._stamp: tuple[tuple[int, int, int], ...] = ()
        self._read_s = -AGAIN_S
        self._dropped = 0

    @property
    def totals(self) -> Totals:
        """What there is, as far as it is known."""
        known = self._sorted_bytes + sum(self._unsorted.values())
        return Totals(len(self._unsorted), self._sorted_total, known, self._dropped)

    def start(self) -> list[float]:
        """Remove rubbish, read the folder; return the times of the newest cases, wall clock."""
        with Store(self._path, create=True, lock=True) as store:
            tidy(store)
            self._read(store)
            self._stamp = _stamp(store)
            return [one.time_s for one in self._hashes]

    def add(self, name: str, picture: bytes, sidecar: SideCar, alike: Alike) -> str:
        """Keep a case; return its name, with an ending where there is one like it already.

        Return an empty text for a duplicate.
        """
        encoded = sidecars.encode(sidecar)
        size = len(picture) + len(encoded)
        with Store(self._path, create=True, lock=True) as store:
            fresh = self._refresh(store)
            if self._has(_hash(sidecar), alike):
                return ""
            self._make_room(store, size)
            unique, number = name, 1
            while store.where(unique) is not None:
                unique, number = f"{name}-{number}", number + 1
            try:
                store.add(unique, picture, encoded)
            except OSError as exc:
                if exc.errno != errno.ENOSPC or not self._unsorted:
                    raise
                self._drop(store, SPARE * size, 0)
                store.add(unique, picture, encoded)
            self._unsorted[unique] = size
            self._hashes.append(_hash(sidecar))
            if fresh:
                self._stamp = _stamp(store)
        return unique

    def _has(self, new: Hash, alike: Alike) -> bool:
        """Return whether one of the newest cases looks like this one, and gave the same label."""
        return any(
            one.best == new.best
            and abs(new.time_s - one.time_s) < alike.within_s
            and distance(one.fingerprint, new.fingerprint) <= alike.bits
            for one in self._hashes
        )

    def _refresh(self, store: Store) -> bool:
        """Read the folder if another process has changed it; return whether all is known."""
        stamp = _stamp(store)
        if stamp == self._stamp and not store.created:
            return True
        again = store.created or self._clock() - self._read_s >= AGAIN_S
        if self._stamp and not again:
            return False
        self._read(store)
        return True

    def _make_room(self, store: Store, size: int) -> None:
        """Drop the oldest unsorted cases until one more fits. Raises OSError: it cannot."""
        free = store.root.free_bytes()
        held, unsorted = self.totals.bytes, sum(self._unsorted.values())
        short = max(held + size - self._caps.bytes, size + self._caps.free_bytes - free)
        if self._sorted_bytes + size > self._caps.bytes:
            text = f"sorted cases take {self._sorted_bytes} bytes of cases.bytes"
            raise OSError(errno.EDQUOT, f"{text}: export and purge them, or raise it")
        if short > unsorted:
            text = f"only {free} bytes of the disk are free, cases.free_bytes is"
            raise OSError(errno.ENOSPC, f"{text} {self._caps.free_bytes}")
        if self._sorted_total >= CASES_MAX:
            raise OSError(errno.EDQUOT, f"{CASES_MAX} cases are sorted: export and purge them")
        surplus = len(self._unsorted) + self._sorted_total + 1 - CASES_MAX
        self._drop(store, short, surplus)

    def _drop(self, store: Store, short: int, surplus: int) -> None:
        """Drop the oldest unsorted cases: so many bytes, and so many cases."""
        while self._unsorted and (short > 0 or surplus > 0):
            name = next(iter(self._unsorted))
            self._dropped += store.remove(name)
            short, surplus = short - self._unsorted.pop(name), surplus - 1

    def _read(self, store: Store) -> None:
        """Read names and sizes of all cases, and the side-cars of the newest."""
        sizes: dict[str, int] = {}
        pictures: list[str] = []
        self._sorted_bytes = self._sorted_total = 0
        newest: list[tuple[str, str]] = []
        for label in ("", *store.labels()):
            with store.folder(label) as folder:
                mine = []
                for name, ending, size in store.files(folder):
                    if label:
                        self._sorted_bytes += size
                    else:
                        sizes[name] = sizes.get(name, 0) + size
                    if ending == PICTURE:
                        mine.append(name)
            if label:
                self._sorted_total += len(mine)
            else:
                pictures = mine
            newest = heapq.nlargest(HASHES_MAX, newest + [(name, label) for name in mine])
        self._unsorted = {name: sizes[name] for name in sorted(pictures)}
        self._hashes.clear()
        for name, label in reversed(newest):
            if sidecar := store.sidecar(name, label):
                self._hashes.append(_hash(sidecar))
        self._read_s = self._clock()


def _hash(sidecar: SideCar) -> Hash:
    best = max(sidecar.scores, key=lambda label: sidecar.scores[label], default="")
    return Hash(sidecar.time, int(sidecar.fingerprint, 16), best)


def _stamp(store: Store) -> tuple[tuple[int, int, int], ...]:
    """Return what changes when files are added, moved or removed, of each folder."""
    stamps = []
    for label in ("", *store.labels()):
        with contextlib.suppress(FileNotFoundError), store.folder(label) as folder:
            status = folder.status()
            stamps.append((status.st_dev, status.st_ino, status.st_mtime_ns))
    return tuple(stamps)
