"""The schedule of every network: runs of stages, from the head down, with falling rates.

A run begins with ImageNet's weights. What several runs have learnt is averaged, and where a network
was taught with few sources it goes part of the way back to ImageNet's: such weights are right on
more sources than either end. Source: Wortsman et al. 2022 (robust fine-tuning; model soups).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from models import augment

WHOLE: Final = augment.WIDE_VIEWS
"""From this view on, at about the daemon's distance."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the schedule.

    first   the first layer that learns; None: only the head
    rate    highest learning rate; it rises from 0 in WARM_UP_STEPS, then falls to 0 as a cosine
    side    input size, pixels: small pictures first, which are cheaper
    views   the first view that is used: 0 for all, or WHOLE
    camera  share of the pictures that the camera's effects change
    scenes  share of the pictures that are put into a scene, where there are scenes and cutouts
    keep    share of what the body has learnt that is kept when the stage begins; the rest is
            ImageNet's again
    """

    name: str
    first: str | None
    epochs: int
    rate: float
    side: int
    views: int = 0
    camera: float = 1.0
    scenes: float = 0.0
    keep: float = 1.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """All that a network is trained with.

    runs   each a tuple of stages, of different names in all runs
    keep   share of what the runs have learnt, on average, that is kept in the end
    refit  whether the head is fitted again in the end, on features of whole pictures
    """

    runs: tuple[tuple[Stage, ...], ...]
    keep: float = 1.0
    refit: bool = True


SCHEDULES: Final = {
    "mobilenet": Schedule(
        (
            (
                Stage("head", None, 1, 2e-3, 192),
                Stage("all", "stem", 16, 2e-4, 192, scenes=0.3),
                Stage("between", None, 1, 5e-4, 192, scenes=0.15, keep=0.6),
                Stage("settle", "stem", 4, 1e-4, 192, scenes=0.2, camera=0.7),
                Stage("end", "stem", 2, 5e-5, 0, WHOLE, 0.5, scenes=0.15, keep=0.8),
            ),
            (
                Stage("plain-head", None, 1, 2e-3, 192),
                Stage("plain-all", "stem", 16, 2e-4, 192),
                Stage("plain-whole", "stem", 5, 6e-5, 0, WHOLE, 0.5),
            ),
        ),
        keep=0.85,
    ),
    "lite0": Schedule(
        (
            (
                Stage("head", None, 1, 2e-3, 192),
                Stage("all", "stem", 4, 1e-4, 192, scenes=0.3),
                Stage("whole", "stem", 1, 4e-5, 0, WHOLE, scenes=0.2),
            ),
            (
                Stage("plain-head", None, 1, 2e-3, 192),
                Stage("plain-all", "stem", 2, 1e-4, 192),
                Stage("plain-whole", "stem", 1, 4e-5, 0, WHOLE),
            ),
        ),
        keep=0.5,
    ),
    "lite2": Schedule(
        (
            (
                Stage("head", None, 1, 2e-3, 192),
                Stage("all", "stem", 2, 1e-4, 192),
                Stage("between", None, 1, 3e-4, 0, WHOLE, 0.5, keep=0.5),
            ),
        ),
        refit=False,
    ),
}
