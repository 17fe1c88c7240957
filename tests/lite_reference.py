"""EfficientNet-Lite in plain NumPy, written from its published table alone; BatchNorm not folded.

Layers are found by the names of their weights: a block without an expansion has none. Knows neither
Keras nor models.backbones, which it is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Weights = Mapping[str, NDArray[np.floating]]
EPSILON: Final = 0.001
STRIDES: Final = (1, 2, 2, 2, 1, 2, 1)
"""Of the first block of each stage."""
REPEATS: Final = {"lite0": (1, 2, 2, 3, 3, 4, 1), "lite2": (1, 3, 3, 4, 4, 5, 1)}
KERNELS: Final = (3, 3, 5, 3, 5, 5, 3)
CHANNELS: Final = {
    "lite0": (16, 24, 40, 80, 112, 192, 320),
    "lite2": (16, 24, 48, 88, 120, 208, 352),
}


def blocks(name: str) -> list[tuple[int, int, int, int, int]]:
    """Return each block's kernel, stride, expansion, and channels in and out."""
    rows, before = [], 32
    for stage, repeats in enumerate(REPEATS[name]):
        for place in range(repeats):
            stride, after = 1 if place else STRIDES[stage], CHANNELS[name][stage]
            rows.append((KERNELS[stage], stride, 6 if stage else 1, before, after))
            before = after
    return rows


def convolve(x: Values, kernel: NDArray[np.floating], stride: int, depthwise: bool) -> Values:
    """Return the convolution of (N, H, W, C), padded as TensorFlow's SAME."""
    size = kernel.shape[0]
    pads = []
    for side in x.shape[1:3]:
        total = max((-(-side // stride) - 1) * stride + size - side, 0)
        pads.append((total // 2, total - total // 2))
    x = np.pad(x, ((0, 0), *pads, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]  # (N, H, W, C, k, k)
    if depthwise:
        return np.asarray(np.einsum("nhwcij,ijc->nhwc", windows, kernel[..., 0]))
    return np.asarray(np.einsum("nhwcij,ijco->nhwo", windows, kernel, optimize=True))


def normalise(x: Values, weights: Weights, layer: str) -> Values:
    """Return BatchNorm of ``x``, as trained."""
    gamma, beta, mean, variance = (
        weights[f"{layer}/{part}"].astype(np.float64)
        for part in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    return gamma * (x - mean) / np.sqrt(variance + EPSILON) + beta


def forward(name: str, weights: Weights, x: Values) -> Values:
    """Return the last map, (N, h, w, 1280), of pictures (N, H, W, 3)."""

    def layer(x: Values, name: str, stride: int, norm: str = "", relu: bool = True) -> Values:
        depthwise = name.endswith("_depthwise")
        kernel = weights[f"{name}/{'depthwise_' * depthwise}kernel"]
        x = convolve(x, kernel.astype(np.float64), stride, depthwise)
        x = normalise(x, weights, norm or f"{name}_bn")
        return np.clip(x, 0, 6) if relu else x

    x = layer(x, "stem_conv", 2, "stem_bn")
    for number, (_, stride, expansion, before, after) in enumerate(blocks(name)):
        y, block = x, f"block_{number}"
        if expansion > 1:
            y = layer(y, f"{block}_expand", 1)
        y = layer(y, f"{block}_depthwise", stride)
        y = layer(y, f"{block}_project", 1, relu=False)
        x = x + y if stride == 1 and before == after else y
    return layer(x, "head_conv", 1, "head_bn")


def random_weights(name: str, seed: int) -> dict[str, NDArray[np.float32]]:
    """Return random weights, BatchNorm included; so small that rounding errors do not grow."""
    random = np.random.default_rng(seed)
    weights: dict[str, NDArray[np.float32]] = {}

    def add(layer: str, norm: str, *shape: int) -> None:
        depthwise = layer.endswith("_depthwise")
        channels = shape[2] if depthwise else shape[3]
        inputs = np.prod(shape) / channels
        key = f"{layer}/{'depthwise_' * depthwise}kernel"
        weights[key] = random.normal(0, np.sqrt(1 / inputs), shape).astype(np.float32)
        for part, low, high in (
            *(("gamma", 0.5, 1.5), ("beta", -0.3, 0.5)),
            *(("moving_mean", -0.5, 0.5), ("moving_variance", 0.3, 2.0)),
        ):
            weights[f"{norm}/{part}"] = random.uniform(low, high, channels).astype(np.float32)

    add("stem_conv", "stem_bn", 3, 3, 3, 32)
    for number, (kernel, _, expansion, before, after) in enumerate(blocks(name)):
        wide, block = before * expansion, f"block_{number}"
        if expansion > 1:
            add(f"{block}_expand", f"{block}_expand_bn", 1, 1, before, wide)
        add(f"{block}_depthwise", f"{block}_depthwise_bn", kernel, kernel, wide, 1)
        add(f"{block}_project", f"{block}_project_bn", 1, 1, wide, after)
    add("head_conv", "head_bn", 1, 1, after, 1280)
    return weights
