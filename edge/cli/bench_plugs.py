"""Benchmark of the daemon's frame path: pipeline, publishing, and every plug that is configured."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from edge.config import Config
from edge.contract import encode
from edge.daemon.compose import plug
from edge.daemon.framepath import FramePath
from edge.daemon.run import Run
from edge.frames import Frame
from edge.messages import Message
from edge.model.engine import Engine
from edge.pipeline.plugs import Plugs
from edge.telemetry import LatencyRing, Stages
from edge.telemetry.latency import percentiles_ms

WARM_UP_FRAMES: Final = 50
LOADING_S: Final = 0.01
"""Between two looks whether everything is loaded."""
RESULTS_MAX: Final = 240.0
"""Results a second, the most that the config allows."""


def run(
    config: Config, engine: Engine, frames: Sequence[Frame], frames_total: int
) -> dict[str, dict[str, float]]:
    """Return what a frame costs on the daemon's path with all plugs, and what each plug does.

    plugged_pipeline  the whole path, invoke included, of skipped frames without
    plugged_skipped   reason -> frames that a gate has skipped; not there without any
    """
    publish = msgspec.structs.replace(config.publish, result=True, result_rate=RESULTS_MAX)
    stages, whole = Stages(frames_total), LatencyRing(frames_total)
    config = msgspec.structs.replace(config, publish=publish)
    with frame_path(config, engine, stages) as (path, state, _):
        for index in range(-WARM_UP_FRAMES, frames_total):
            if index == 0:
                stages.clear()
                whole.clear()
                state.skipped_total.clear()
            begin_ns = time.monotonic_ns()
            frame = replace(frames[index % len(frames)], sequence=index, captured_ns=begin_ns)
            path.process(frame, 0)
            whole.add(time.monotonic_ns() - begin_ns)
    named = {"plugged_pipeline": percentiles_ms(whole)}
    for name, times in stages.percentiles_ms().items():
        if name == "publish" or name not in Stages.NAMES:
            named[name] = times
    figures = {f"{name}_ms": msgspec.structs.asdict(times) for name, times in named.items()}
    return figures | ({"plugged_skipped": dict(state.skipped_total)} if state.skipped_total else {})


@contextlib.contextmanager
def frame_path(
    config: Config, engine: Engine, stages: Stages
) -> Iterator[tuple[FramePath, Run, Plugs]]:
    """Yield the daemon's path of a frame, the state of its run, and its plugs, loaded.

    Nothing is published, and cases go to a folder that is removed.
    """
    wire = encode.Wire("edge/bench", engine.card.labels, "bench", time.time)
    with contextlib.ExitStack() as closing:
        made = tempfile.TemporaryDirectory(prefix="edge-bench-", ignore_cleanup_errors=True)
        cases = msgspec.structs.replace(config.cases, path=closing.enter_context(made))
        state = Run(msgspec.structs.replace(config, cases=cases), engine)
        plugged = plug(state, wire, _drop, _no_snapshot, stages, closing)
        while any(
            getattr(part, "state", "") == "loading" for part in plugged.plugs.parts().values()
        ):
            plugged.rooms.tick()  # a shadow
            time.sleep(LOADING_S)
        path = FramePath(state, plugged.plugs, stages, plugged.publishing)
        yield path, state, plugged.plugs


def _drop(message: Message) -> None:
    """Take a message, as the connection to the broker would."""


def _no_snapshot(frame: Frame) -> None:
    """Take no picture: that costs milliseconds, and only on a change of label."""
