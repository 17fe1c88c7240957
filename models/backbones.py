"""Backbones: MobileNetV2 and EfficientNet-Lite, with ImageNet weights, BatchNorm folded in.

A backbone is an inverted-residual network without its top: pictures in, a map of features out.
BatchNorm stays frozen in fine-tuning on so few pictures, so it is folded into the convolution
before it when the weights are read: the same function in half the time and memory.
Source: Sandler et al. 2018 (MobileNetV2); the EfficientNet-Lite definitions of TensorFlow's tpu
repository, Apache-2.0: no squeeze-and-excitation, ReLU6, stem and top not scaled by width.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from edge.errors import ConfigError

Arrays = Mapping[str, NDArray[Any]]
EPSILON: Final = 1e-3
"""Of every BatchNorm, in both families."""
TOP: Final = 1280
"""Channels of the last convolution: features after pooling."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks of one resolution; the first has ``stride``, the others 1."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    filters: int


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network and how pictures enter it: real input = (pixel - mean) / std.

    stem    channels of the first convolution
    side    input size that the weights were trained at, pixels
    keys    name of a layer -> names of its convolution and BatchNorm in the weight files
    """

    name: str
    stem: int
    stages: tuple[Stage, ...]
    side: int
    mean: float
    std: float
    keys: Callable[[str], tuple[str, str]]


def _mobilenet_keys(layer: str) -> tuple[str, str]:
    """Source: the layer names of keras.applications.MobileNetV2."""
    if layer in ("stem", "top"):
        return ("Conv1", "bn_Conv1") if layer == "stem" else ("Conv_1", "Conv_1_bn")
    name = layer.replace("block_0_", "expanded_conv_")
    return name, f"{name}_BN"


def _efficientnet_keys(layer: str) -> tuple[str, str]:
    if layer in ("stem", "top"):
        name = {"stem": "stem", "top": "head"}[layer]
        return f"{name}_conv", f"{name}_bn"
    return layer, f"{layer}_bn"


def _eighths(filters: float) -> int:
    """Return the nearest multiple of 8 that is not over 10 % less, at least 8."""
    near = max(8, int(filters + 4) // 8 * 8)
    return near + 8 if near < 0.9 * filters else near


def mobilenet(width: float) -> Backbone:
    """Return MobileNetV2 of a width up to 1.0."""
    stages = tuple(
        Stage(n, 3, s, t, _eighths(c * width))
        for t, c, n, s in (
            *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
            *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
        )
    )
    stem = _eighths(32 * width)
    return Backbone(f"MobileNetV2 {width:g}", stem, stages, 224, 127.5, 127.5, _mobilenet_keys)


def efficientnet_lite(number: int) -> Backbone:
    """Return EfficientNet-Lite0, 1 or 2."""
    width, depth, side = ((1.0, 1.0, 224), (1.0, 1.1, 240), (1.1, 1.2, 260))[number]
    rows = (
        *((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80)),
        *((3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)),
    )
    stages = tuple(
        Stage(
            blocks if place in (0, len(rows) - 1) else math.ceil(depth * blocks),
            *(kernel, stride, expansion),
            _eighths(filters * width),
        )
        for place, (blocks, kernel, stride, expansion, filters) in enumerate(rows)
    )
    name = f"EfficientNet-Lite{number}"
    return Backbone(name, 32, stages, side, 127.0, 128.0, _efficientnet_keys)


BACKBONES: Final = {
    "mobilenet": mobilenet(0.35),
    **{f"lite{number}": efficientnet_lite(number) for number in range(3)},
}


def build(backbone: Backbone, weights: Arrays | None) -> Any:
    """Return the network for pictures (N, H, W, 3) float32; random weights for None.

    Raises ConfigError where the weights do not fit.
    """
    layers = keras.layers

    def convolution(x: Any, name: str, filters: int, kernel: int, stride: int, relu: bool) -> Any:
        if filters:
            layer = layers.Conv2D(filters, kernel, stride, "same", name=name)
        else:
            layer = layers.DepthwiseConv2D(kernel, stride, "same", name=name)
        x = layer(x)
        return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x

    picture = layers.Input((None, None, 3))
    x = convolution(picture, "stem", backbone.stem, 3, 2, relu=True)
    for number, (stage, stride) in enumerate(_blocks(backbone)):
        name, channels = f"block_{number}", x.shape[-1]
        y = x
        if stage.expansion > 1:
            y = convolution(y, f"{name}_expand", channels * stage.expansion, 1, 1, relu=True)
        y = convolution(y, f"{name}_depthwise", 0, stage.kernel, stride, relu=True)
        y = convolution(y, f"{name}_project", stage.filters, 1, 1, relu=False)
        alike = stride == 1 and channels == stage.filters
        x = layers.Add(name=f"{name}_add")([x, y]) if alike else y
    x = convolution(x, "top", TOP, 1, 1, relu=True)
    network = keras.Model(picture, x, name=backbone.name.replace(" ", "_"))
    if weights is not None:
        load(network, backbone, weights)
    return network


def load(network: Any, backbone: Backbone, weights: Arrays) -> None:
    """Set every convolution of ``network``, with the BatchNorm that follows it folded in."""
    for layer in (layer for layer in network.layers if layer.weights):
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        kernel_key, norm = backbone.keys(layer.name)
        kernel = _array(weights, f"{kernel_key}/{'depthwise_' * depthwise}kernel", layer.kernel)
        gamma, beta, mean, variance = (
            _array(weights, f"{norm}/{part}", layer.bias)
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / np.sqrt(variance + EPSILON)
        kernel = kernel * (scale[:, None] if depthwise else scale)
        layer.set_weights([kernel.astype(np.float32), (beta - mean * scale).astype(np.float32)])


def read(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz, ``layer/weight`` -> values; nothing pickled is read."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as exc:
        raise ConfigError("weights cannot be read", where=str(path), got=str(exc)) from exc


def _blocks(backbone: Backbone) -> Iterator[tuple[Stage, int]]:
    """Yield every block's stage and stride."""
    for stage in backbone.stages:
        for place in range(stage.blocks):
            yield stage, 1 if place else stage.stride


def _array(weights: Arrays, key: str, like: Any) -> NDArray[np.float64]:
    expected = tuple(like.shape)
    if key not in weights or weights[key].shape != expected:
        raise ConfigError(
            "weights do not fit the network",
            expected=f"{key} of {expected}",
            got=str(weights[key].shape) if key in weights else "none",
            hint="give the weights of this network, without top, as .npz",
        )
    return np.asarray(weights[key], np.float64)
