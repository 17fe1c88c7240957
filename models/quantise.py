"""Quantisation-aware training: the network trains on, rounded as the int8 file will round it.

    python -m models.quantise [--backbone mobilenet] [--out build/model]

Reads OUT/NAME.keras; writes OUT/NAME-int8.keras: the same network, float weights, of the epoch
with the lowest validation loss. models.export calibrates and converts it like any other.

Weights are rounded by output channel, symmetric; activations where TFLite has a tensor (after a
ReLU6, an addition, the pooling, a convolution without ReLU), over the range that calibration
pictures give.
Source: Jacob et al. 2018; the gradient ignores rounding (straight-through, Bengio et al. 2013).
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_SET_ONEDNN_FPMATH_MODE", "BF16")  # where the processor has it: faster
import keras
import numpy as np
import tensorflow as tf

from edge.errors import EdgeError, ModelError
from models import augment, backbones, dataset, head, network, options, train, variants
from models.batches import Batches
from models.schedule import Stage

STAGES: Final = {
    "mobilenet": Stage("int8", "stem", 1, 3e-5, 0, augment.WIDE_VIEWS, 0.5, scenes=0.15),
    "lite0": Stage("int8", "stem", 1, 2e-5, 0, augment.WIDE_VIEWS, 0.5, scenes=0.15),
}
LEVELS: Final = 127
"""Steps on each side of zero of a symmetric int8."""


class RoundedWeights(keras.layers.Layer):  # type: ignore[misc]  # keras is untyped
    """The layer ``inner`` with its kernel rounded by output channel; shares its weights."""

    def __init__(self, inner: Any) -> None:
        super().__init__(name=f"{inner.name}_rounded")
        self.inner = inner

    def call(self, x: Any) -> Any:
        """Return the layer's output."""
        inner, ops = self.inner, keras.ops
        if isinstance(inner, keras.layers.Dense):
            y = ops.matmul(x, rounded(inner.kernel, (0,)))
            y = y if inner.bias is None else y + inner.bias
            return inner.activation(y)
        depthwise = isinstance(inner, keras.layers.DepthwiseConv2D)
        convolve = ops.depthwise_conv if depthwise else ops.conv
        kernel = rounded(inner.kernel, (0, 1) if depthwise else (0, 1, 2))
        return convolve(x, kernel, strides=inner.strides, padding=inner.padding) + inner.bias


class RoundedActivation(keras.layers.Layer):  # type: ignore[misc]
    """Rounds to the 256 values of a tensor with the range ``low`` to ``high``."""

    def __init__(self, name: str, low: float, high: float) -> None:
        super().__init__(name=f"{name}_rounded_activation")
        self.low, self.high = min(low, 0.0), max(high, 0.0)

    def call(self, x: Any) -> Any:
        """Return the rounded tensor."""
        return tf.quantization.fake_quant_with_min_max_vars(x, self.low, self.high)


def rounded(kernel: Any, axes: tuple[int, ...]) -> Any:
    """Return ``kernel`` rounded to int8 steps, one scale for all but ``axes``."""
    kernel = keras.ops.convert_to_tensor(kernel)
    step = keras.ops.max(keras.ops.abs(kernel), axes, keepdims=True) / LEVELS + 1e-12
    near = keras.ops.round(kernel / step) * step
    return kernel + keras.ops.stop_gradient(near - kernel)


def tensors(model: Any) -> list[Any]:
    """Return the layers whose output is a tensor of the int8 file: the ends of fused operations."""
    kinds = (keras.layers.ReLU, keras.layers.Add, keras.layers.GlobalAveragePooling2D)
    return [
        layer
        for layer in model.layers
        if isinstance(layer, kinds) or layer.name.endswith("_project")
    ]


def ranges(
    model: Any, corpus: dataset.Dataset, backbone: backbones.Backbone, side: int
) -> dict[str, tuple[float, float]]:
    """Return the least and the greatest value of every such tensor, by its layer's name."""
    ends = tensors(model)
    probe = keras.Model(model.input, [layer.output for layer in ends])
    run = tf.function(lambda picture: probe(picture, training=False))
    lows, highs = np.full(len(ends), np.inf), np.full(len(ends), -np.inf)
    for picture in variants.representative(corpus, backbone, side):
        values = [np.asarray(value) for value in run(picture[0])]
        lows = np.minimum(lows, [value.min() for value in values])
        highs = np.maximum(highs, [value.max() for value in values])
    return {
        layer.name: (float(low), float(high))
        for layer, low, high in zip(ends, lows, highs, strict=True)
    }


def simulate(model: Any, bounds: dict[str, tuple[float, float]]) -> Any:
    """Return a network that rounds as int8 does; it shares the weights of ``model``."""
    weighty = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        y = RoundedWeights(layer)(*args) if isinstance(layer, weighty) else layer(*args, **kwargs)
        if layer.name in bounds:
            y = RoundedActivation(layer.name, *bounds[layer.name])(y)
        return y

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


class Keep(keras.callbacks.Callback):  # type: ignore[misc]
    """Saves another network, which shares its weights, at every lowest validation loss."""

    def __init__(self, kept: Any, to: Path) -> None:
        super().__init__()
        self._kept, self._to, self._lowest = kept, to, np.inf

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Save where the loss is the lowest so far."""
        loss = (logs or {})["val_loss"]
        if loss < self._lowest:
            self._lowest = loss
            self._kept.save(self._to)


def fine_tune(model: Any, corpus: dataset.Dataset, args: argparse.Namespace, to: Path) -> None:
    """Train ``model`` with int8 rounding; its best epoch goes to ``to``."""
    backbone, stage = backbones.BACKBONES[args.backbone], STAGES[args.backbone]
    stage = replace(stage, side=args.side, epochs=1 if args.quick else stage.epochs)
    network.unfreeze(model, stage.first)
    rounding = simulate(model, ranges(model, corpus, backbone, args.side))
    batches = Batches(corpus, stage, backbone, train.targets(corpus, args), args.seed)
    train.compile_model(rounding, stage.rate, stage.epochs * len(batches))
    part = to.with_suffix(".part.keras")
    rounding.fit(
        batches,
        epochs=stage.epochs,
        validation_data=train.validation(corpus, backbone, stage.side),
        verbose=1 if sys.stdout.isatty() else 2,
        callbacks=[Keep(model, part)],
    )
    model.load_weights(part)
    print(f"head: C {head.refit(model, corpus, backbone, args.side):g}")
    model.save(part)
    part.replace(to)


def main() -> None:
    """Train further, unless that is already done."""
    parser = options.parser(__doc__)
    parser.add_argument("--distil", type=float, default=0.7, help="the teacher's share, 0 to 1")
    args = options.parse(parser)
    trained, to = args.out / f"{args.name}.keras", args.out / f"{args.name}-int8.keras"
    if not trained.is_file():
        raise ModelError("no trained network", where=str(trained), hint="run models.train first")
    if to.is_file():
        print(f"{to} exists already; remove it to train again")
        return
    model = keras.models.load_model(trained, compile=False)
    fine_tune(model, dataset.load(args.out), args, to)
    print(to)


if __name__ == "__main__":
    try:
        main()
    except EdgeError as exc:
        sys.exit(str(exc))
