"""Benchmark: speed and size of the pipeline on frames in memory, stage by stage.

Frames are read from the source once and then repeated from memory, so that no decoder is measured.
Every frame's result is encoded and handed to a sink: the worst case, for a daemon hands over
only changes and what its rates allow. Passes of their own measure growth, and the daemon's frame
path with every plug that the config switches on.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from dataclasses import replace
from typing import Any, Final

import cv2
import msgspec
import numpy as np

from edge.camera.spec import camera_spec
from edge.config import Config
from edge.contract import encode
from edge.frames import EndOfSource, Frame, Prediction
from edge.messages import Message
from edge.model import engine as engines
from edge.model.engine import Engine
from edge.pipeline.pipeline import Pipeline
from edge.pipeline.smoothing import Smoother
from edge.telemetry import HealthReader, Stages

WARM_UP_FRAMES: Final = 50
HELD_FRAMES: Final = 8
"""Frames in memory: 7 MB at 640x480."""


class Sink:
    """Replaces the connection to the broker; counts messages."""

    def __init__(self) -> None:
        self.messages_total = 0

    def publish(self, message: Message) -> None:
        """Take ``message``."""
        self.messages_total += 1


def run(config: Config, frames_total: int, naive: bool = False) -> dict[str, Any]:
    """Return the figures that ``edge bench --json`` prints. Raises EdgeError.

    naive  also measure the same work as a first script would do it, frame by frame in turn
    """
    engine = engines.start(config.model)
    frames = _frames(config, engine)
    loop = _Loop(config, engine)
    for index in range(WARM_UP_FRAMES):
        loop.frame(frames[index % len(frames)], index)
    loop.stages = Stages(frames_total)
    plain = NaiveLoop(engine) if naive else None
    plain_ns = []
    spent_ns = 0
    for index in range(frames_total):
        frame = frames[index % len(frames)]
        begin_ns = time.monotonic_ns()
        loop.frame(frame, index)
        spent_ns += time.monotonic_ns() - begin_ns
        if plain:
            begin_ns = time.monotonic_ns()
            plain.frame(frame)
            plain_ns.append(time.monotonic_ns() - begin_ns)
    times = loop.stages.percentiles_ms()
    health = HealthReader().read()
    figures: dict[str, Any] = {
        f"{name}_ms": msgspec.structs.asdict(times[name])
        for name in ("invoke", "preprocess", "overhead", "pipeline")
    }
    figures |= {
        "fps": round(frames_total / (spent_ns / 1e9), 1),
        "rss_bytes": health.rss_bytes,
        "pss_bytes": health.pss_bytes,
        **_growth(loop, frames, frames_total),
        "runtime": engine.classifier.facts.runtime,
        "xnnpack": engine.classifier.facts.xnnpack,
        "delegated_share": engine.classifier.facts.delegated_share,
        "threads": engine.classifier.facts.threads,
        "model": engine.card.name,
        "frames": frames_total,
        "frame_size": f"{frames[0].pixels.shape[1]}x{frames[0].pixels.shape[0]}",
    }
    if plain:
        middle = float(np.median(plain_ns)) / 1e6
        figures["naive_ms"] = {"p50": round(middle, 3)}
        figures["naive_ratio"] = round(middle / times["pipeline"].p50, 3)
    from edge.cli import bench_plugs  # after the memory was read: it imports the daemon

    figures |= bench_plugs.run(config, engine, frames, frames_total)
    return figures


class _Loop:
    """What the daemon does with one frame."""

    def __init__(self, config: Config, engine: Engine) -> None:
        smoother = Smoother(engine.card.labels, config.smoothing, engine.card.smoothing)
        self._pipeline = Pipeline(*engine.stages, smoother)
        self._wire = encode.Wire("edge/bench", engine.card.labels, "bench", time.time)
        self._sink, self._top_k = Sink(), config.publish.top_k
        self.stages = Stages(WARM_UP_FRAMES)

    def frame(self, frame: Frame, sequence: int) -> None:
        """Classify ``frame`` and hand its result over."""
        taken_ns = time.monotonic_ns()
        taken = replace(frame, sequence=sequence, captured_ns=taken_ns)
        prediction, _, times = self._pipeline.process(taken)
        begin_ns = time.monotonic_ns()
        if isinstance(prediction, Prediction):
            latency_ns = begin_ns - taken_ns
            self._sink.publish(self._wire.result(prediction, latency_ns, self._top_k))
        handed_ns = time.monotonic_ns()
        self.stages.add(0, times, handed_ns - begin_ns, handed_ns - taken_ns)


class NaiveLoop:
    """The same work as a first script would do it, for comparison only."""

    def __init__(self, engine: Engine, window: int = 10) -> None:
        self._interpreter = engine.classifier.interpreter
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        self._window = window
        self._scores: list[Any] = []

    def frame(self, frame: Frame) -> Any:
        """Read, resize, astype, set_tensor, invoke, list.pop, mean."""
        height, width = self._input["shape"][1:3]
        picture = cv2.resize(cv2.cvtColor(frame.pixels, cv2.COLOR_BGR2RGB), (width, height))
        if self._input["dtype"] is np.float32:
            batch = np.expand_dims(picture.astype(np.float32) / 127.5 - 1.0, 0)
        else:
            lowest = np.iinfo(self._input["dtype"]).min
            batch = np.expand_dims((picture.astype(np.int16) + lowest), 0)
            batch = batch.astype(self._input["dtype"])
        self._interpreter.set_tensor(self._input["index"], batch)
        self._interpreter.invoke()
        raw = self._interpreter.get_tensor(self._output["index"])[0].astype(np.float32)
        scale, zero_point = self._output["quantization"]
        self._scores.append((raw - zero_point) * scale if scale else raw)
        if len(self._scores) > self._window:
            self._scores.pop(0)
        return np.mean(self._scores, axis=0)


def _frames(config: Config, engine: Engine) -> list[Frame]:
    """Return frames of the source, copied, or fewer where it ends."""
    camera_config = msgspec.structs.replace(config.camera, pace="fast", loop=False)
    camera = camera_spec(camera_config, engine.preprocess).open()
    held: list[Frame] = []
    try:
        while len(held) < HELD_FRAMES:
            frame = camera.read(camera_config.stall_timeout_s)
            if frame is not None:
                held.append(replace(frame, pixels=frame.pixels.copy()))
    except EndOfSource:
        pass
    finally:
        camera.close()
    return held


def _growth(loop: _Loop, frames: list[Frame], frames_total: int) -> dict[str, int]:
    """Return the growth of process and Python heap over ``frames_total`` more frames.

    frame_peak_heap_bytes  most that one frame had allocated at a time, of the last hundred
    """
    reader = HealthReader()
    gc.collect()
    rss_bytes = reader.read().rss_bytes or 0
    for index in range(frames_total):
        loop.frame(frames[index % len(frames)], index)
    grown_rss_bytes = (reader.read().rss_bytes or 0) - rss_bytes
    tracemalloc.start()
    for index in range(100):
        loop.frame(frames[index % len(frames)], index)
    gc.collect()
    before, peak_bytes = tracemalloc.get_traced_memory()[0], 0
    for index in range(frames_total):
        if index >= frames_total - 100:
            tracemalloc.reset_peak()
            held = tracemalloc.get_traced_memory()[0]
            loop.frame(frames[index % len(frames)], index)
            peak_bytes = max(peak_bytes, tracemalloc.get_traced_memory()[1] - held)
        else:
            loop.frame(frames[index % len(frames)], index)
    gc.collect()
    grown_heap_bytes = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return {
        "rss_growth_bytes": grown_rss_bytes,
        "heap_growth_bytes": grown_heap_bytes,
        "frame_peak_heap_bytes": peak_bytes,
    }
