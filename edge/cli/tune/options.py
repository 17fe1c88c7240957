"""Which candidates are worth a trial, from the config and what the machine and the model have."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from msgspec.structs import replace

from edge.cli.tune.records import Candidate, Facts
from edge.config import CameraConfig, Config
from edge.errors import ModelError
from edge.model import installed, locate

SIZES: Final = (
    *((320, 240), (640, 480), (800, 600), (1024, 768), (1280, 960)),
    *((320, 180), (640, 360), (848, 480), (1280, 720), (1920, 1080)),
)
"""Pictures, 4:3 and 16:9, that cameras offer."""
SHAPE: Final = 0.01
"""Two sizes whose ratios of width to height differ by less show the same part of the scene."""


def threads(best: Candidate, cores: tuple[int, ...]) -> list[Candidate]:
    """Return every number of threads but the one that ``best`` has."""
    here = min(best.threads or len(cores), len(cores))
    numbers = (number for number in range(1, len(cores) + 1) if number != here)
    return [replace(best, threads=number) for number in numbers]


def affinities(best: Candidate, cores: tuple[int, ...]) -> list[Candidate]:
    """Return the last cores, as many as threads, and all but the first; with three and more."""
    if len(cores) < 3:
        return []
    used = min(best.threads or len(cores), len(cores))
    numbers = sorted({used, len(cores) - 1} - {len(cores)})
    return [replace(best, cores=cores[-number:]) for number in numbers if number >= used]


def sizes(best: Candidate, config: CameraConfig, useful: tuple[int, int]) -> list[Candidate]:
    """Return smaller pictures of the same shape in which the model loses nothing."""
    shape = config.width / config.height
    fitting = [
        (width, height)
        for width, height in SIZES
        if abs(width / height / shape - 1) < SHAPE
        and useful[0] <= width < config.width
        and useful[1] <= height < config.height
    ]
    return [replace(best, width=width, height=height) for width, height in fitting]


def motions(best: Candidate) -> list[Candidate]:
    """Return both made-up scenes, with the motion gate and without."""
    return [
        replace(best, scene=scene, motion=motion)
        for scene in ("still", "moving")
        for motion in (False, True)
    ]


def seconds(best: Candidate, name: str) -> list[Candidate]:
    """Return no second model, and ``name`` asked for every frame; nothing without a name."""
    if not name:
        return []
    return [replace(best, second=""), replace(best, second=name, asked="always")]


def second(config: Config, facts: Facts) -> str:
    """Return the second model: the config's, else an installed one of the same labels, larger."""
    if config.model.second:
        return config.model.second
    try:
        own = locate.find(config.model.path)
        least = _bytes(own.path)
    except (ModelError, OSError):
        return ""
    larger = []
    for name in installed.names():
        try:
            file = locate.find(name)
            if file.card.labels == facts.labels and _bytes(file.path) > least:
                larger.append((_bytes(file.path), name))
        except (ModelError, OSError):  # a backbone, or one that is at fault
            continue
    return min(larger, default=(0, ""))[1]


def _bytes(path: Path) -> int:
    return path.stat().st_size


def absolute(config: Config) -> Config:
    """Return ``config`` with models by their folders: children do not know the state directory."""

    def path(name: str) -> str:
        folder: Path | None = installed.folder(name)
        return name if folder is None else str(folder)

    model = replace(config.model, path=path(config.model.path), second=path(config.model.second))
    return replace(
        config, model=model, shadow=replace(config.shadow, model=path(config.shadow.model))
    )
