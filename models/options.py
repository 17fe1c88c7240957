"""Options and folders that the steps of the recipe share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
BESIDE: Final = ROOT.parent / "shared" / "data"
"""Training data beside the checkout, if present."""
SHIPPED: Final = ROOT / "models" / "catdog"
STUDENT: Final = BESIDE / "weights" / "mobilenet_v2_0.35_224_imagenet_no_top.npz"
TEACHER: Final = BESIDE / "weights" / "teacher_mobilenet_v2_1.0_no_top.npz"


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every step; ``doc`` begins with what the step does."""
    options = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    add = options.add_argument
    add(
        "--data",
        type=Path,
        default=BESIDE / "images",
        help="folder with train/CLASS/* and, if present, test_independent/CLASS/*",
    )
    add("--extra", type=Path, help="folder with CLASS/*: more pictures, for training only")
    add("--out", type=Path, default=ROOT / "build" / "model", help="work folder")
    add(
        "--weights",
        type=Path,
        default=_existing(STUDENT),
        help=".npz (default: Keras downloads its own)",
    )
    add(
        "--teacher",
        type=Path,
        default=_existing(TEACHER),
        help=".npz (default: Keras downloads its own)",
    )
    add("--alpha", type=float, default=0.35, help="width of the network")
    add("--side", type=int, default=224, help="input size of the shipped model, pixels")
    add(
        "--central-fraction",
        type=float,
        default=0.875,
        help="share of each side, around the centre, that the model gets",
    )
    add("--seed", type=int, default=7)
    add("--held-out", type=int, default=2000, help="pictures never trained on")
    add("--validation", type=int, default=1000, help="pictures that decide choices")
    add("--limit", type=int, default=0, help="pictures per class, at most; 0: all")
    add(
        "--quick",
        action="store_true",
        help="one epoch per stage: a trial of the steps, no usable model",
    )
    return options


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None
