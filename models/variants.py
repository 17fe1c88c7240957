"""One trained network as several TFLite files: conversion, size, speed, accuracy.

float32   weights and arithmetic as trained
float16   weights in half the bytes, arithmetic in float32
dynamic   int8 weights, one scale per channel; arithmetic mostly in float32
sparse    float32 without the zeros, for pruned networks
int8      int8 throughout, calibrated on training pictures; uint8 pixels in, uint8 scores out
"""

from __future__ import annotations

import contextlib
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import tensorflow as tf

from edge.config import ModelConfig
from edge.frames import Frame
from edge.model.engine import start
from models import backbones, data, dataset, evaluate, network
from models.folders import Sample
from models.judge import judge

Kind = Literal["float32", "float16", "dynamic", "int8", "sparse"]
EXPORTED: Final[tuple[Kind, ...]] = ("float32", "float16", "dynamic", "int8")
INVOKES: Final = 300
CALIBRATION: Final = 400
"""Training pictures that give the ranges of the activations."""


def representative(
    corpus: dataset.Dataset, backbone: backbones.Backbone, side: int
) -> Iterator[list[Any]]:
    """Yield calibration pictures as the daemon would feed them, (1, side, side, 3) float32.

    They are drawn from all sources as in training.
    """
    train = corpus.indices("train")
    often = data.mix([corpus.samples[i] for i in train])
    random = np.random.default_rng(0)
    count = min(CALIBRATION, len(train))
    for index in random.choice(train, count, replace=False, p=often / often.sum()):
        pixels = data.read_rgb(corpus.samples[index].path)
        small = data.shrink(pixels, side, corpus.how)
        yield [data.to_input(small[None], backbone.mean, backbone.std)]


@contextlib.contextmanager
def saved(model: Any, side: int) -> Iterator[str]:
    """Yield a folder with the network for one picture, from which every kind is converted."""
    with tempfile.TemporaryDirectory(prefix="edge-network-") as folder:
        network.at_size(model, side).export(folder, verbose=False)
        yield folder


def convert(
    folder: str, corpus: dataset.Dataset, backbone: backbones.Backbone, side: int, kind: Kind
) -> bytes:
    """Return the network in ``folder`` as TFLite; int8 throughout has uint8 input and output."""
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    if kind == "sparse":
        converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    elif kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "int8":
        converter.representative_dataset = lambda: representative(corpus, backbone, side)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.uint8
    return bytes(converter.convert())


def measure(
    folder: Path, sets: Mapping[str, Sequence[Sample]], background: Sequence[int], out: Path
) -> dict[str, Any]:
    """Return size, speed and figures of the model in ``folder``; OUT/scores keeps its scores.

    background  numbers of background classes
    """
    engine = start(ModelConfig(path=str(folder), require_xnnpack=False))
    content = engine.path.read_bytes()
    facts = engine.classifier.facts
    frame = Frame(0, 0, np.zeros((224, 224, 3), np.uint8), "rgb")
    engine.classify(frame, np.empty(len(engine.card.labels), np.float32))
    times_ns = []
    for _ in range(INVOKES):
        begin_ns = time.perf_counter_ns()
        engine.classifier.invoke()
        times_ns.append(time.perf_counter_ns() - begin_ns)
    judged = {name: judge(engine, samples, out / "scores") for name, samples in sets.items()}
    return {
        "bytes": len(content),
        "gzip_bytes": len(zlib.compress(content, 9)),
        "invoke_ms": round(float(np.median(times_ns)) / 1e6, 3),
        "runtime": facts.runtime,
        "threads": facts.threads,
        "delegated_share": round(facts.delegated_share, 3),
        "left_out": facts.left_out,
        "sets": evaluate.measure(judged, background),
    }
