"""Augmented views of a picture, as a camera might have taken it. Source: Albumentations.

A view has two halves: its geometry (crop, flip), which depends only on picture and view, so that
teacher and student get the same; and effects of light, lens and camera, new at every epoch.
"""

from __future__ import annotations

import os
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would query PyPI at import
import albumentations as A  # noqa: N812

from edge import geometry

WIDE_VIEWS: Final = 8
"""Views at very different distances; after them come those at about the picture's own."""
WHOLE_VIEWS: Final = 4
VIEWS: Final = WIDE_VIEWS + WHOLE_VIEWS
MARGIN: Final = 1.3
"""Side of the widest view, as a share of what the daemon feeds its model; where that is more than
the picture, the picture is mirrored at its edges. A network trained only on crops expects every
object to be larger."""
WIDE_AREA: Final = (0.4, MARGIN**2)
WHOLE_AREA: Final = (0.85, 1.35)
"""Area of a view, as a share of what the daemon feeds its model."""


class Views:
    """Makes views (side, side, 3) uint8 RGB; not for several threads at once."""

    def __init__(self, side: int, seed: int, central_fraction: float = 1.0) -> None:
        self._seed, self._widest = seed, MARGIN * central_fraction
        self._wide, self._whole = (
            A.Compose(
                [
                    A.RandomResizedCrop(
                        (side, side),
                        (smallest / MARGIN**2, largest / MARGIN**2),
                        ratio=(3 / 4, 4 / 3),
                        interpolation=cv2.INTER_LINEAR,
                    ),
                    A.HorizontalFlip(p=0.5),
                ]
            )
            for smallest, largest in (WIDE_AREA, WHOLE_AREA)
        )
        self._camera = A.Compose(
            [
                A.OneOf(
                    [
                        A.RandomBrightnessContrast(0.3, 0.3, p=1),
                        A.RandomGamma((60, 160), p=1),
                        A.CLAHE(p=0.3),
                    ],
                    p=0.6,
                ),
                A.OneOf([A.PlanckianJitter(p=1), A.HueSaturationValue(8, 30, 0, p=1)], p=0.5),
                A.OneOf(
                    [
                        A.GaussianBlur(sigma_limit=(0.3, 1.5), p=1),
                        A.MotionBlur((3, 7), p=0.5),
                        A.GaussNoise((0.01, 0.05), p=1),
                        A.ImageCompression("jpeg", (30, 90), p=1),
                    ],
                    p=0.3,
                ),
            ]
        )

    def geometry(self, picture: NDArray[np.uint8], index: int, view: int) -> NDArray[np.uint8]:
        """Return view 0 to VIEWS - 1 of picture ``index``, the same every time."""
        chain = self._wide if view < WIDE_VIEWS else self._whole
        whole = geometry.Rect(0, 0, *picture.shape[:2])
        centre = geometry.cut(picture, geometry.centre(whole, min(self._widest, 1.0)))
        margin = max(self._widest - 1, 0.0) / 2
        rows, columns = (round(side * margin) for side in centre.shape[:2])
        larger = cv2.copyMakeBorder(centre, rows, rows, columns, columns, cv2.BORDER_REFLECT_101)
        return self._run(chain, np.asarray(larger, np.uint8), index * VIEWS + view)

    def camera(self, picture: NDArray[np.uint8], index: int, epoch: int) -> NDArray[np.uint8]:
        """Return the picture in another light, through another camera, at every epoch."""
        return self._run(self._camera, picture, (epoch << 32) + index)

    def _run(self, chain: Any, picture: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
        # One generator for each picture: the order of reading changes nothing.
        seed = np.random.SeedSequence((self._seed, number)).generate_state(1)[0]
        chain.set_random_seed(int(seed))
        return np.asarray(chain(image=picture)["image"], np.uint8)
