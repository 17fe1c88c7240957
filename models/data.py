"""Pictures in a folder per class: reading, splits, class weights and training targets.

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

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edge.errors import ConfigError
from edge.frames import Frame
from edge.model.card import Preprocessing, TensorSpec
from edge.model.preprocess import Preprocessor

Part = Literal["train", "validation", "held_out", "none"]
"""Use of a sample; "none" for a near-duplicate of a test picture, which must not train."""
SMOOTHING: Final = {2: 0.05}
SMOOTHING_MORE: Final = 0.1
"""Label smoothing for two classes, and for more."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture file and the index of its class."""

    path: Path
    label: int


def classes(folder: Path) -> tuple[str, ...]:
    """Return the class names: the names of the folders in ``folder``, sorted."""
    try:
        names = tuple(sorted(c.name for c in folder.iterdir() if c.is_dir() and c.name[0] != "."))
    except FileNotFoundError:
        raise ConfigError(
            "no training pictures",
            where=str(folder),
            expected="a folder with one folder of pictures per class",
            hint="sort Dogs-vs-Cats or Oxford-IIIT Pet into cat/ and dog/, and give the folder"
            " with --data",
        ) from None
    except OSError as exc:
        raise ConfigError(f"folder cannot be read: {exc.strerror}", where=str(folder)) from exc
    if len(names) < 2:
        raise ConfigError(
            "fewer than two classes",
            where=str(folder),
            expected="at least two folders with pictures",
            got=", ".join(names) or "none",
        )
    odd = next((name for name in names if not name.isprintable() or name != name.strip()), None)
    if odd is not None:
        raise ConfigError(
            f"class name {odd!r} cannot be a label",
            where=str(folder),
            expected="printable characters, no space at either end",
            hint="rename the folder",
        )
    return names


def scan(folder: Path, labels: Sequence[str] = ()) -> tuple[tuple[str, ...], list[Sample]]:
    """Return the class names and every file of every class.

    labels  the classes to read; by default every folder
    """
    names = tuple(labels) or classes(folder)
    samples: list[Sample] = []
    for index, name in enumerate(names):
        if labels and not (folder / name).is_dir():
            continue
        try:
            files = sorted(p for p in (folder / name).iterdir() if p.name[0] != "." and p.is_file())
        except OSError as exc:
            where = str(folder / name)
            raise ConfigError(f"folder cannot be read: {exc.strerror}", where=where) from exc
        if not files and not labels:
            raise ConfigError(
                f"class `{name}` has no pictures",
                where=str(folder),
                hint="put pictures into it, or remove it",
            )
        samples += [Sample(path.absolute(), index) for path in files]
    return names, samples


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


def class_weights(labels: NDArray[np.int64], classes_total: int) -> NDArray[np.float32]:
    """Return a weight for each class, higher for rarer ones; their mean over the samples is 1."""
    counts = np.bincount(labels, minlength=classes_total)
    return np.asarray(len(labels) / (classes_total * np.maximum(counts, 1)), np.float32)


def shrink(pixels: NDArray[np.uint8], side: int, how: Preprocessing) -> NDArray[np.uint8]:
    """Return one (H, W, 3) RGB picture as (side, side, 3), by the daemon's own preprocessing."""
    out = np.empty((1, side, side, 3), np.uint8)
    tensor = TensorSpec(out.shape, np.dtype(np.uint8), 1 / 127.5, 127)
    Preprocessor(how, tensor)(Frame(0, 0, pixels, "rgb"), out)
    return np.asarray(out[0])


def to_input(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return pixels as the network's real input: pixel / 127.5 - 1."""
    return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)


def soft_targets(
    classes: NDArray[np.int64], labels_total: int, logits: NDArray[np.float32], distil: float
) -> NDArray[np.float32]:
    """Return the student's target for each view, (N, V, K).

    classes  (N,)
    logits   (N, V, K) the teacher's, K = 1 for two classes
    distil   the teacher's share, 0 to 1; the rest is the label, smoothed
    Source: Hinton, Vinyals, Dean 2015, with temperature 1.
    """
    smoothing = SMOOTHING.get(labels_total, SMOOTHING_MORE)
    hard = np.eye(labels_total, dtype=np.float32)[classes]
    hard = hard * (1 - smoothing) + smoothing / labels_total
    if labels_total == 2:
        hard, soft = hard[:, 1:], 1 / (1 + np.exp(-logits))
    else:
        exponent = np.exp(logits - logits.max(axis=2, keepdims=True))
        soft = exponent / exponent.sum(axis=2, keepdims=True)
    return np.asarray(distil * soft + (1 - distil) * hard[:, None], np.float32)
