"""Pictures: reading, splits, the mix of a batch, and training targets.

Rule 1: a file is read by its content, not by its name: turned as its EXIF says, alpha over grey,
        CMYK and palette as RGB, the first frame of an animation. What cannot be read whole is
        left out, and the report says why.
Rule 2: near-duplicates (equal perceptual hashes but for a few bits) stay on one side of the
        split. Those whose classes contradict each other are left out.
Rule 3: the split is fixed by its seed and stratified. ``held_out`` is set aside before anything
        else, ``validation`` decides every choice, the rest trains.

Knows no network.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import ConfigError
from edge.frames import Frame
from edge.model.card import Preprocessing, TensorSpec
from edge.model.preprocess import Preprocessor
from models.folders import Sample

Part = Literal["train", "validation", "held_out", "none"]
"""Use of a sample; "none" for a near-duplicate of a test picture, which must not train."""
SMOOTHING: Final = 0.05
"""Label smoothing: the share of the target that all classes get alike."""


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Return the picture as (H, W, 3) RGB uint8. Raises ValueError with the reason."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            picture.seek(0)
            picture.load()
            turned = ImageOps.exif_transpose(picture)
            if turned.mode.startswith(("I", "F")):  # 16 bits and more per pixel
                deep = np.asarray(turned, np.float64)
                top = max(deep.max(), 255.0) if deep.size else 255.0
                turned = Image.fromarray((deep * (255.0 / top)).astype(np.uint8))
            if turned.has_transparency_data:
                grey = Image.new("RGBA", turned.size, (128, 128, 128, 255))
                turned = Image.alpha_composite(grey, turned.convert("RGBA"))
            pixels = np.asarray(turned.convert("RGB"), np.uint8)
    except UnidentifiedImageError:
        raise ValueError("not a picture") from None
    except (OSError, SyntaxError, Image.DecompressionBombError, EOFError) as exc:
        raise ValueError(str(exc) or type(exc).__name__) from exc
    if min(pixels.shape[:2]) < 2:
        raise ValueError(f"only {pixels.shape[1]}x{pixels.shape[0]} pixels")
    return pixels


def split(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    held_out: int,
    validation: int,
    seed: int,
) -> list[Part]:
    """Return the part of each sample; each class has the same share of every part.

    labels, groups  (N,) class, and group of near-duplicates, which is never divided
    """
    random = np.random.default_rng(seed)
    parts: list[Part] = ["train"] * len(labels)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        share = len(mine) / len(labels)
        sizes: dict[Part, int] = {
            "held_out": round(held_out * share),
            "validation": round(validation * share),
        }
        members = [
            mine[groups[mine] == group] for group in random.permutation(np.unique(groups[mine]))
        ]
        for part, count in sizes.items():
            while count > 0 and members:
                fits = next((i for i, m in enumerate(members) if len(m) <= count), None)
                if fits is None:
                    break
                taken = members.pop(fits)
                count -= len(taken)
                for index in taken:
                    parts[index] = part
        if not members:
            raise ConfigError(
                "too few pictures for the split",
                expected=f"more than {held_out + validation}",
                got=str(len(labels)),
                hint="lower --held-out and --validation",
            )
    return parts


def mix(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """Return how often each sample trains in an epoch, (N,); the mean is 1.

    Every class gets the same share, and a source within its class one by the square root of its
    pictures: a small source is seen more often than it is large, or the network would learn the
    large source instead of the class.
    """
    pairs = [(sample.label, sample.source) for sample in samples]
    counts = Counter(pairs)
    roots: defaultdict[int, float] = defaultdict(float)
    for (label, _), count in counts.items():
        roots[label] += math.sqrt(count)
    shares = {
        pair: math.sqrt(count) / roots[pair[0]] / len(roots) / count
        for pair, count in counts.items()
    }
    return np.array([len(samples) * shares[pair] for pair in pairs])


def shrink(pixels: NDArray[np.uint8], side: int, how: Preprocessing) -> NDArray[np.uint8]:
    """Return one (H, W, 3) RGB picture as (side, side, 3), by the daemon's own preprocessing."""
    out = np.empty((1, side, side, 3), np.uint8)
    tensor = TensorSpec(out.shape, np.dtype(np.uint8), 1 / 127.5, 127)
    Preprocessor(how, tensor)(Frame(0, 0, pixels, "rgb"), out)
    return np.asarray(out[0])


def stretch(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return a whole (H, W, 3) picture as (side, side, 3)."""
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def to_input(pixels: NDArray[np.uint8], mean: float, std: float) -> NDArray[np.float32]:
    """Return pixels as a network's real input: (pixel - mean) / std."""
    return (pixels.astype(np.float32) - np.float32(mean)) / np.float32(std)


def smoothed(classes: NDArray[np.int64], labels_total: int) -> NDArray[np.float32]:
    """Return the smoothed labels of classes (N,), as targets (N, C)."""
    hard = np.eye(labels_total, dtype=np.float32)[classes]
    return np.asarray(hard * (1 - SMOOTHING) + SMOOTHING / labels_total, np.float32)


def soft_targets(
    labels: NDArray[np.float32], logits: NDArray[np.float32], distil: float
) -> NDArray[np.float32]:
    """Return the student's target for each view, (N, V, C).

    labels  (N, C) smoothed
    logits  (N, V, C) the teacher's
    distil  the teacher's share, 0 to 1; the rest is the label
    Source: Hinton, Vinyals, Dean 2015, with temperature 1.
    """
    exponent = np.exp(logits - logits.max(axis=2, keepdims=True))
    soft = exponent / exponent.sum(axis=2, keepdims=True)
    return np.asarray(distil * soft + (1 - distil) * labels[:, None], np.float32)
