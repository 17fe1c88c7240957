"""Options and folders that the steps of the recipe share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
BESIDE: Final = ROOT.parent / "shared" / "data"
"""Training data beside the checkout, if present."""
SHIPPED: Final = ROOT / "models" / "catdog"
BACKGROUND: Final = "neither"
NETWORKS: Final = {"mobilenet": "catdog", "lite0": "catdog-large"}
"""Backbones to choose from, and the shipped model that each makes."""
SIDES: Final = {"mobilenet": 224, "lite0": 256}
"""Input size of the shipped classifiers, pixels."""


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every step; ``doc`` begins with what the step does."""
    options = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    add = options.add_argument
    add(
        "--data",
        type=Path,
        default=BESIDE / "images",
        help="folder with train/CLASS/* and, if present, train_NAME/CLASS/*, test_NAME/CLASS/*",
    )
    add(
        "--background",
        action="append",
        metavar="LABEL",
        help="a class that means that nothing of interest is there; may be given again (default:"
        f" {BACKGROUND}, if there is one)",
    )
    add("--extra", type=Path, help="folder with CLASS/*: more pictures, for training only")
    add("--out", type=Path, default=ROOT / "build" / "model", help="work folder")
    add("--backbone", choices=tuple(NETWORKS), default="mobilenet", help="the network")
    add("--name", help="name of the trained network's files (default: the backbone's)")
    add("--weights", type=Path, help="the backbone's ImageNet weights, .npz (default: fetched)")
    add("--teacher", type=Path, help="the teacher's, .npz (default: fetched)")
    add("--side", type=int, help="input size, pixels (default: 224; of lite0 256)")
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
        help="two stages of one epoch: a trial of the steps, no usable model",
    )
    return options


def parse(options: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the options given on the command line; ``name`` and ``side`` follow the backbone."""
    args = options.parse_args()
    args.side = args.side or SIDES[args.backbone]
    args.name = args.name or args.backbone
    return args
