"""What a device has learnt of a model without a baseline: figures of its frames, in a file.

learnt/SHA256.npz of the state directory has (n, 8) float32, written whole or not at all, on a
thread of its own [1]: the loop never waits for a disk. The thread is given figures that nobody else
has. A file that cannot be used is ignored, and replaced.
"""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge import baseline, files
from edge import config as configs
from edge.background import Call
from edge.errors import ModelError
from edge.model import npz
from edge.model.engine import Engine

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]

MAX_BYTES: Final = 65_536
FILES_MAX: Final = 20
"""Models of which something was learnt; beyond that the oldest file goes."""
ROW: Final = len(baseline.OF_PICTURES) + len(baseline.OF_SCORES)


class Learnt:
    """The file of one model: of its head, where it has one. Without a state directory, none."""

    def __init__(self, engine: Engine) -> None:
        state, head = configs.state_folder(), engine.card.head
        name = head.sha256 if head else engine.sha256
        self._path = state / "learnt" / f"{name}.npz" if state else None
        self._saving: Call[None] | None = None  # [1]

    def read(self) -> Floats:
        """Return the figures so far, (n, 8); none where there is no file that can be used."""
        none = np.empty((0, ROW), np.float32)
        if self._path is None:
            return none
        try:
            content = files.read(self._path, MAX_BYTES)
            figures = npz.read(content, ("figures",), MAX_BYTES, str(self._path)).get("figures")
            if figures is None or figures.shape[1:] != (ROW,):
                raise ModelError(f"expected figures of shape (n, {ROW})")
            if not (np.abs(figures) <= baseline.LARGEST).all():
                raise ModelError("not all figures are numbers")
        except FileNotFoundError:
            return none
        except (OSError, ModelError) as exc:
            log.warning("%s is ignored, and learnt again: %s", self._path, exc)
            return none
        return figures

    def save(self, figures: Floats) -> None:
        """Write ``figures``, (n, 8); where the last ones are still being written, not."""
        path = self._path
        if path is None or (self._saving is not None and not self._saving.wait(0)):
            return
        self._saving = Call(lambda: _write(path, figures), name="learnt")  # [1]


def _write(path: Path, figures: Floats) -> None:
    content, part = io.BytesIO(), path.with_suffix(".part")
    np.savez(content, figures=figures)
    try:
        path.parent.mkdir(exist_ok=True)
        with part.open("wb") as out:
            out.write(content.getvalue())
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
        oldest = sorted(path.parent.glob("*.npz"), key=lambda file: file.stat().st_mtime_ns)
        for file in oldest[:-FILES_MAX]:
            file.unlink(missing_ok=True)
    except OSError as exc:
        log.warning("what was learnt cannot be saved: %s: %s", path, exc.strerror)
