"""A folder per class -> files, splits and augmented batches; knows no network.

The split is fixed by its seed and stratified: ``held_out`` is set aside before anything else,
``validation`` serves every choice, the rest trains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import ConfigError

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
STORED: Final = 256
"""Side in pixels at which training pictures are kept in memory, uint8 RGB."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture file and the index of its class."""

    path: Path
    label: int


@dataclass(frozen=True, slots=True)
class Split:
    """Samples by use; no picture is in two of them."""

    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    held_out: tuple[Sample, ...]


def scan(folder: Path) -> tuple[tuple[str, ...], list[Sample]]:
    """Return the class names (the folder's folders, sorted) and every picture in them."""
    if not folder.is_dir():
        raise ConfigError(
            "no training pictures",
            where=str(folder),
            expected="a folder with one folder of pictures per class",
            mend="bring Dogs-vs-Cats or Oxford-IIIT Pet sorted into cat/ and dog/,"
            " and give its place with --data",
        )
    labels = tuple(sorted(child.name for child in folder.iterdir() if child.is_dir()))
    samples = [
        Sample(path, index)
        for index, label in enumerate(labels)
        for path in sorted((folder / label).iterdir())
        if path.suffix.lower() in SUFFIXES
    ]
    empty = [label for i, label in enumerate(labels) if not any(s.label == i for s in samples)]
    if len(labels) < 2 or empty:
        raise ConfigError(
            f"class `{empty[0]}` holds no picture" if empty else "fewer than two classes",
            where=str(folder),
            expected="at least two folders with pictures",
        )
    return labels, samples


def split(samples: Sequence[Sample], held_out: int, validation: int, seed: int) -> Split:
    """Deal the samples out, each class in the proportion it has in the whole."""
    random = np.random.default_rng(seed)
    parts: tuple[list[Sample], ...] = ([], [], [])
    for label in sorted({sample.label for sample in samples}):
        mine = [sample for sample in samples if sample.label == label]
        share = len(mine) / len(samples)
        order = [mine[i] for i in random.permutation(len(mine))]
        first, second = round(held_out * share), round((held_out + validation) * share)
        for part, piece in zip(
            parts, (order[second:], order[first:second], order[:first]), strict=True
        ):
            part.extend(piece)
    if not parts[0] or (validation and not parts[1]):
        raise ConfigError(
            "too few pictures for the split",
            expected=f"more than {held_out + validation}",
            got=str(len(samples)),
            mend="lower --held-out and --validation",
        )
    return Split(*(tuple(part) for part in parts))


def read_rgb(path: Path) -> NDArray[np.uint8] | None:
    """Return the picture as (H, W, 3) RGB, turned as its EXIF says; None if unreadable."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        return None
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def shrink(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return (N, H, W, 3) pictures as (N, side, side, 3)."""
    return np.stack([np.asarray(cv2.resize(p, (side, side)), np.uint8) for p in pixels])


def load(samples: Sequence[Sample]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return readable pictures as (N, STORED, STORED, 3) uint8 and labels as (N,) float32."""
    pixels = np.empty((len(samples), STORED, STORED, 3), np.uint8)
    labels: list[int] = []
    for sample in samples:
        picture = read_rgb(sample.path)
        if picture is None:
            print(f"left out, not readable: {sample.path}")
            continue
        cv2.resize(picture, (STORED, STORED), dst=pixels[len(labels)])
        labels.append(sample.label)
    return pixels[: len(labels)], np.asarray(labels, np.float32)


def to_input(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return pixels as the network's real input: pixel / 127.5 - 1."""
    return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)


def augment(
    picture: NDArray[np.uint8], side: int, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Return one random view of a picture, as a camera might have taken it.

    Crop of 50 to 100 % of the area with aspect 3/4 to 4/3, flip, brightness, contrast, colour
    temperature, saturation; sometimes blur or noise.
    """
    height, width = picture.shape[:2]
    area = random.uniform(0.5, 1.0)
    aspect = float(np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3))))
    rows = min(height, round(height * float(np.sqrt(area / aspect))))
    columns = min(width, round(width * float(np.sqrt(area * aspect))))
    top = int(random.integers(0, height - rows + 1))
    left = int(random.integers(0, width - columns + 1))
    view = picture[top : top + rows, left : left + columns]
    if random.random() < 0.5:
        view = view[:, ::-1]
    out = cv2.resize(np.ascontiguousarray(view), (side, side)).astype(np.float32)
    out *= random.uniform(0.9, 1.1, 3).astype(np.float32)
    mean = out.mean()
    out = (out - mean) * np.float32(random.uniform(0.7, 1.3)) + mean * np.float32(
        random.uniform(0.7, 1.3)
    )
    grey = out.mean(axis=2, keepdims=True)
    out = grey + (out - grey) * np.float32(random.uniform(0.6, 1.3))
    accident = random.random()
    if accident < 0.1:
        out = cv2.GaussianBlur(out, (0, 0), random.uniform(0.5, 1.5))
    elif accident < 0.25:
        out += random.normal(0, random.uniform(2, 10), out.shape).astype(np.float32)
    return np.asarray(np.clip(out, 0, 255), np.uint8)
