"""The pictures of a folder of classes, each read once: features, figures, times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge import baseline
from edge.cli import teach_progress as progress
from edge.errors import ConfigError
from edge.fingerprint import fingerprint
from edge.frames import Frame
from edge.learn import times
from edge.learn.page import SUSPECTS
from edge.learn.samples import Folder, Samples
from edge.learn.teach import Taught
from edge.model.backbone import Backbone
from edge.model.survey import Survey
from edge.pictures.picture import Unreadable
from edge.pictures.read import read_pixels

Figures = NDArray[np.float32]
JPEG_BYTES: Final = 24_000_000
"""Of memory to decode a JPEG; one that needs more is decoded smaller. 4 megapixels, of which a
backbone gets 0.05."""
SMALL_BYTES: Final = 8_000_000
"""The same for a picture that is only shown, or golden."""
THUMBNAIL: Final = 144


@dataclass(frozen=True, slots=True)
class Pictures:
    """N pictures that could be read.

    samples  what is learnt of them
    paths    (N,)
    figures  (N, 6): what drift compares later pictures with
    """

    samples: Samples
    paths: tuple[Path, ...]
    figures: Figures


def read(folder: Path, found: Folder, network: Backbone, show: progress.Show) -> Pictures:
    """Return the pictures of ``found``; those that cannot be read are listed in the samples."""
    survey, total = Survey(network.engine), len(found.files)
    features = np.empty((total, network.size), np.float32)
    figures = np.empty((total, len(baseline.OF_PICTURES)), np.float32)
    kept: list[tuple[Path, int]] = []
    prints, bright = [], []
    unread: list[tuple[str, str]] = []
    for number, (path, label) in enumerate(found.files):
        show(f"{number + 1} of {total} pictures", progress.READING * (number + 1) / total)
        try:
            frame = Frame(0, 0, read_pixels(path, jpeg_bytes=JPEG_BYTES), "bgr")
        except Unreadable as exc:
            unread.append((_name(path, folder), str(exc)))
            continue
        features[len(kept)] = network.features(frame)
        survey.picture(figures[len(kept)])
        prints.append(fingerprint(frame.pixels))
        bright.append(float(frame.pixels[::4, ::4].mean()))
        kept.append((path, label))
        del frame  # before the next one is decoded
    if not kept:
        raise ConfigError("no picture can be read", where=str(folder), got=unread[0][1])
    paths = tuple(path for path, _ in kept)
    samples = Samples(
        labels=found.labels,
        names=tuple(_name(path, folder) for path in paths),
        classes=np.array([label for _, label in kept], np.int64),
        features=features[: len(kept)],
        prints=tuple(prints),
        bright=np.array(bright),
        times_s=times.of_all(paths),
        unread=tuple(unread),
    )
    return Pictures(samples, paths, figures[: len(kept)])


def small(path: Path) -> NDArray[np.uint8]:
    """Return a picture, of a large JPEG a smaller one, (H, W, 3) BGR. Raises Unreadable."""
    return read_pixels(path, jpeg_bytes=SMALL_BYTES)


def thumbnails(pictures: Pictures, taught: Taught) -> dict[str, bytes]:
    """Return small JPEGs of the suspects, by name."""
    rows = [one.index for one in taught.suspects[:SUSPECTS]]
    return {
        pictures.samples.names[row]: jpeg for row in rows for jpeg in _jpeg(pictures.paths[row])
    }


def _jpeg(path: Path) -> Iterator[bytes]:
    try:
        pixels = small(path)
    except Unreadable:  # it has gone meanwhile
        return
    scale = THUMBNAIL / max(pixels.shape[:2])
    size = tuple(max(1, round(side * scale)) for side in pixels.shape[1::-1])
    shown = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    yield cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, 70])[1].tobytes()


def _name(path: Path, folder: Path) -> str:
    r"""Return a picture's path below the folder, as text: bytes that are no UTF-8 as ``\udcff``."""
    return str(path.relative_to(folder)).encode(errors="backslashreplace").decode()
