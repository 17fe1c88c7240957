"""Makes a case of a frame and writes it: the worker's side of the observer.

Runs on one thread at a time, never the loop's: pictures are made, and disks are waited for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.cases import names
from edge.cases.index import Alike, Caps, Index, Totals
from edge.cases.sidecar import TEXT_MAX, SideCar
from edge.config import CasesConfig
from edge.fingerprint import fingerprint
from edge.frames import Frame, Seconds
from edge.geometry import Roi
from edge.observers.cases import picture


@dataclass(frozen=True, slots=True)
class Model:
    """What gives the scores. name: with its version; labels: (C,) in score order."""

    name: str
    sha256: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A frame that is to be kept.

    frame   its pixels are a copy, which may be painted over
    scores  (C,) a copy; None where the model gave none
    label   the window's
    time_s  wall clock
    """

    reason: str
    frame: Frame
    scores: NDArray[np.float32] | None
    label: str | None
    time_s: Seconds


@dataclass(frozen=True, slots=True)
class Done:
    """What a job has done.

    reason  of the frame; empty for the job that reads the folder
    name    of the case; empty where none was kept: a duplicate, or a fault
    fault   of the disk; empty where there was none
    recent  times of the newest cases, wall clock; of the job that reads the folder
    """

    totals: Totals
    reason: str = ""
    name: str = ""
    fault: str = ""
    recent: tuple[float, ...] = ()


class Keeper:
    """Keeps frames in ``folder``. roi: the part of the upright picture that frames show."""

    def __init__(self, config: CasesConfig, folder: Path, model: Model, roi: Roi) -> None:
        self._config, self._folder, self._model = config, folder, model
        self._mask = picture.masked(config.mask, roi)
        caps = Caps(config.bytes, config.free_bytes)
        self._index = Index(folder, caps)

    def start(self) -> Done:
        """Read the folder."""
        try:
            recent = tuple(self._index.start())
        except OSError as exc:
            return Done(self._index.totals, fault=self._fault(exc))
        return Done(self._index.totals, recent=recent)

    def keep(self, wanted: Wanted) -> Done:
        """Make a case and write it, unless it looks like one there is."""
        config, reason, frame = self._config, wanted.reason, wanted.frame
        made = picture.make(frame, self._mask, config.side)
        sidecar = SideCar(
            schema=1,
            time=round(wanted.time_s, 3),
            sequence=max(0, frame.sequence),
            reason=reason,
            label=None if wanted.label is None else wanted.label[:TEXT_MAX],
            scores=_best(wanted.scores, self._model.labels, config.scores),
            model=self._model.name[:TEXT_MAX],
            sha256=self._model.sha256,
            fingerprint=f"{fingerprint(made):016x}",
        )
        name = names.new(wanted.time_s, sidecar.sequence)
        alike = Alike(config.duplicate_bits, config.duplicate_s)
        if reason == "request":
            alike = Alike(0, 0)
        try:
            name = self._index.add(name, picture.jpeg(made), sidecar, alike)
        except OSError as exc:
            return Done(self._index.totals, reason, fault=self._fault(exc))
        return Done(self._index.totals, reason, name)

    def _fault(self, exc: OSError) -> str:
        return f"{self._folder}: {exc.strerror or exc}"


def _best(
    scores: NDArray[np.float32] | None, labels: tuple[str, ...], count: int
) -> dict[str, float]:
    """Return the best scores, best first; none where the frame has none."""
    if scores is None:
        return {}
    order = np.argsort(-scores, kind="stable")[:count]
    return {labels[index][:TEXT_MAX]: round(float(scores[index]), 4) for index in order}
