"""The places that the steps of the recipe share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
BESIDE: Final = ROOT.parent / "shared" / "data"
"""Training data beside the checkout, where there is any."""
WEIGHTS: Final = BESIDE / "weights" / "mobilenet_v2_0.35_224_imagenet_no_top.npz"
SHIPPED: Final = ROOT / "models" / "catdog"


def add_places(parser: argparse.ArgumentParser) -> None:
    """Add --data and --out."""
    parser.add_argument(
        "--data",
        type=Path,
        default=BESIDE / "images",
        help="folder with train/CLASS/* and, if there is any, test_independent/CLASS/*",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "model", help="work folder")
