"""ImageNet weights of the backbones: a file given, one beside the checkout, or fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from models import backbones, options

BESIDE: Final = {
    "mobilenet": "mobilenet_v2_0.35_224_imagenet_no_top.npz",
    "lite0": "efficientnet_lite0_imagenet_no_top_f16.npz",
    "lite2": "efficientnet_lite2_imagenet_no_top_f16.npz",
}


def of(name: str, file: Path | None) -> backbones.Arrays:
    """Return the weights of the backbone ``name``, without its top. Raises ConfigError."""
    return backbones.read(file or options.BESIDE / "weights" / BESIDE[name])
