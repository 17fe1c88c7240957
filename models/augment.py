"""Augmented views of a picture, as a camera might have taken it. Source: Albumentations.

A view has two halves: its geometry (crop, flip), which depends only on picture and view, so that
teacher and student get the same; and effects of light, lens and camera, new at every epoch. Every
class gets the same effects: one that only some had would give the class away.
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
from models import dataset

Picture = NDArray[np.uint8]
WIDE_VIEWS: Final = 4
"""Views at very different distances; after them come those at about the picture's own."""
WHOLE_VIEWS: Final = 3
VIEWS: Final = WIDE_VIEWS + WHOLE_VIEWS
MARGIN: Final = 1.3
"""Side of the widest view, as a share of what the daemon feeds its model; where that is more than
the picture, the picture is mirrored at its edges. A network trained only on crops expects every
object to be larger."""
WIDE_AREA: Final = (0.3, MARGIN**2)
WHOLE_AREA: Final = (0.85, 1.35)
"""Area of a view, as a share of what the daemon feeds its model."""


class Views:
    """Makes views (side, side, 3) uint8 RGB; not for several threads at once."""

    def __init__(self, corpus: dataset.Dataset, side: int, seed: int) -> None:
        self._pictures, self._seed = corpus.pictures, seed
        self._widest = MARGIN * corpus.how.central_fraction
        self._wide, self._whole = (
            A.Compose(
                [
                    A.RandomResizedCrop(
                        (side, side),
                        (smallest / MARGIN**2, largest / MARGIN**2),
                        ratio=(0.65, 1.5),
                        interpolation=cv2.INTER_LINEAR,
                    ),
                    A.HorizontalFlip(p=0.5),
                ]
            )
            for smallest, largest in (WIDE_AREA, WHOLE_AREA)
        )
        self._camera = camera()

    def geometry(self, index: int, view: int) -> Picture:
        """Return view 0 to VIEWS - 1 of picture ``index``, the same every time."""
        chain = self._wide if view < WIDE_VIEWS else self._whole
        return self._run(chain, self._margin(index), index * VIEWS + view)

    def camera(self, picture: Picture, index: int, epoch: int) -> Picture:
        """Return the picture in another light, through another camera, at every epoch."""
        return self._run(self._camera, picture, (epoch << 32) + index)

    def _margin(self, index: int) -> Picture:
        """Return the part of a picture that views come from, mirrored beyond its edges."""
        picture = self._pictures[index]
        whole = geometry.Rect(0, 0, *picture.shape[:2])
        centre = geometry.cut(picture, geometry.centre(whole, min(self._widest, 1.0)))
        margin = max(self._widest - 1, 0.0) / 2
        rows, columns = (round(side * margin) for side in centre.shape[:2])
        larger = cv2.copyMakeBorder(centre, rows, rows, columns, columns, cv2.BORDER_REFLECT_101)
        return np.asarray(larger, np.uint8)

    def _run(self, chain: Any, picture: Picture, number: int) -> Picture:
        # One generator for each picture: the order of reading changes nothing.
        seed = np.random.SeedSequence((self._seed, number)).generate_state(1)[0]
        chain.set_random_seed(int(seed))
        return np.asarray(chain(image=picture)["image"], np.uint8)


def camera() -> Any:
    """Return the chain of effects: resolution, light, colour, infrared, blur, noise, JPEG."""
    return A.Compose(
        [
            A.Downscale((0.3, 0.9), p=0.3),
            A.OneOf(
                [
                    A.RandomBrightnessContrast(0.3, 0.3, p=1),
                    A.RandomGamma((60, 180), p=1),
                    A.CLAHE(p=0.3),
                    A.Lambda(image=dark, p=0.5),
                ],
                p=0.6,
            ),
            A.OneOf(
                [
                    A.PlanckianJitter(p=1),
                    A.HueSaturationValue(12, 50, 0, p=1),
                    A.ToGray(p=0.7),
                    A.Lambda(image=infrared, p=0.4),
                ],
                p=0.6,
            ),
            A.OneOf(
                [
                    A.GaussianBlur(sigma_limit=(0.3, 2.0), p=1),
                    A.MotionBlur((3, 11), p=1),
                    A.GaussNoise((0.01, 0.08), p=1),
                ],
                p=0.35,
            ),
            A.ImageCompression("jpeg", (25, 95), p=0.4),
        ]
    )


def dark(picture: Picture, **_: Any) -> Picture:
    """Return the picture in low light: a few levels of brightness, with the sensor's noise."""
    few = cv2.convertScaleAbs(picture, alpha=0.12)
    noise: NDArray[np.int8] = np.empty(picture.shape[:2], np.int8)
    cv2.setRNGSeed(int(picture[::16, ::16].sum()))
    cv2.randn(noise, np.zeros(1), np.full(1, 2.0))
    noisy = cv2.add(few, np.repeat(noise[..., None], 3, 2), dtype=cv2.CV_8U)
    return np.asarray(cv2.convertScaleAbs(noisy, alpha=5.0), np.uint8)


def infrared(picture: Picture, **_: Any) -> Picture:
    """Return the picture as a night camera with its own lamp sees it: grey, dark at the edges."""
    weights = np.array([[0.75, 0.35, -0.1]], np.float32)  # near infrared is nearest to red
    grey = cv2.transform(picture, weights)
    height, width = grey.shape[:2]
    lamp = cv2.getGaussianKernel(height, height / 2.2) @ cv2.getGaussianKernel(width, width / 2.2).T
    lit = grey * (1.25 * lamp / lamp.max())
    return np.repeat(np.clip(lit, 0, 255).astype(np.uint8)[..., None], 3, 2)
