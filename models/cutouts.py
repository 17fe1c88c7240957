"""Where the subject of a picture is: a class map of a network, sharpened by the picture's colours.

Sources: Zhou et al. 2016 (class activation maps); Rother, Kolmogorov, Blake 2004 (GrabCut).
Knows no network.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models import data

SIDE: Final = 112
"""Side of a cutout, pixels."""
ROUNDS: Final = 3
LOW, HIGH = 5, 98
"""Percentiles of the map that become 0 and 1."""
SURELY_NOT, LIKELY, SURELY = 0.12, 0.45, 0.85


def cutout(picture: NDArray[np.uint8], subject: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where the subject is, (SIDE, SIDE); nothing where colours cannot tell.

    picture  (H, W, 3) RGB
    subject  (h, w) how much each place speaks for the subject
    """
    small = data.stretch(picture, SIDE)
    wide = cv2.resize(subject, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    low, high = np.percentile(wide, [LOW, HIGH])
    share = (wide - low) / max(high - low, 1e-6)
    mask = np.full((SIDE, SIDE), cv2.GC_PR_BGD, np.uint8)
    mask[share > LIKELY] = cv2.GC_PR_FGD
    mask[share > SURELY] = cv2.GC_FGD
    mask[share < SURELY_NOT] = cv2.GC_BGD
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    try:
        cv2.grabCut(small, mask, (0, 0, 0, 0), *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # no place is surely the one or the other
        return np.zeros((SIDE, SIDE), np.bool_)
    found = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    opened = cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    total, parts, stats, _ = cv2.connectedComponentsWithStats(opened)
    if total < 2:
        return np.zeros((SIDE, SIDE), np.bool_)
    return np.asarray(parts == 1 + stats[1:, cv2.CC_STAT_AREA].argmax())
