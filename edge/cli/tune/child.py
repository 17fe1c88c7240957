"""The child in which one candidate is measured: it may crash or hang.

It runs the daemon's own path of a frame at the frame rate of the daemon: threads that sleep between
frames behave otherwise than back to back. It publishes nothing, and keeps cases in a folder that is
removed. The request is JSON on stdin, the reply on stdout.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from edge.cli.tune.records import Facts, Fault, Figures, Reply, Request
from edge.errors import EdgeError
from edge.frames import EndOfSource, Frame
from edge.text import escaped

FAST_WARM_UP_MAX: Final = 400
SOURCE_WARM_UP, SOURCE_WARM_UP_S = 10, 5.0
POLL_S: Final = 0.5
if TYPE_CHECKING:  # what a candidate needs is imported where its faults are caught
    from edge.cli.tune.scenes import Pictures
    from edge.model.preprocess import Preprocessor

Read = Callable[[], Frame | None]


def main() -> NoReturn:
    """Measure the candidate of the request; reply, and end the process."""
    request = msgspec.convert(json.load(sys.stdin), Request)
    answer = os.dup(1)
    os.dup2(2, 1)  # where libraries print to
    signal.alarm(math.ceil(request.limit_s) + 1)
    os.environ.pop("STATE_DIRECTORY", None)  # what is learnt here is not the daemon's
    try:
        if request.cores:
            os.sched_setaffinity(0, request.cores)
        reply = _measure(request)
    except EdgeError as exc:
        fields = (exc.what, exc.where, exc.expected, exc.got, exc.hint)
        reply = Reply(fault=Fault(type(exc).__name__, *fields))
    except Exception as exc:  # a row of the report, whatever it is
        reply = Reply(fault=Fault("EdgeError", escaped(f"{type(exc).__name__}: {exc}")))
    with os.fdopen(answer, "w") as stream:
        json.dump(msgspec.to_builtins(reply), stream)
    os._exit(0)  # without the interpreter's own clean-up, which may crash


def _measure(request: Request) -> Reply:
    from edge.camera.spec import view
    from edge.cli.bench_plugs import frame_path
    from edge.cli.tune import scenes
    from edge.model import engine as engines
    from edge.telemetry import HealthReader, Stages

    engine = engines.start(request.config.model)
    stages = Stages(max(64, math.ceil(request.fps * request.seconds) + 64))
    reader = HealthReader()
    with frame_path(request.config, engine, stages) as (path, state, plugs):
        held = 0

        def warm(frame: Frame) -> None:
            path.process(frame, 0)

        if request.scene == "source":
            opened = _source(request, engine.preprocess)
        else:
            pictures = scenes.pictures(request.scene, request.config.camera, engine)
            held = sum(picture.nbytes for picture, _ in pictures)
            smoothing = request.config.smoothing
            count = min(FAST_WARM_UP_MAX, 2 * smoothing.window + smoothing.hold_frames + 20)
            for index in range(count):  # at once: the gate is where it would be after a while
                warm(scenes.frame(pictures, index, request.config.camera))
            opened = _made_up(request, pictures)
        with opened as read:
            if request.scene == "source":
                _frames(request, read, warm, SOURCE_WARM_UP_S, SOURCE_WARM_UP)
            stages.clear()
            state.skipped_total.clear()
            begin, busy_s = (time.monotonic(), time.process_time()), _busy_s()
            frames, dropped = _frames(request, read, warm, request.seconds)
            wall_s, cpu_s = time.monotonic() - begin[0], time.process_time() - begin[1]
            all_s, pss = _busy_s(), reader.read().pss_bytes
        skipped = sum(state.skipped_total.values())
        if plugs.failed:  # the daemon goes on without: these are another config's figures
            raise EdgeError(f"{', '.join(plugs.failed)} failed while it was measured")
    cores = os.cpu_count() or 1
    times = stages.percentiles_ms().get("pipeline")
    others = None if busy_s is None or all_s is None else all_s - busy_s - cpu_s
    figures = Figures(
        p50_ms=times.p50 if times else None,
        p99_ms=times.p99 if times else None,
        cpu_share=round(cpu_s / wall_s / cores, 5),
        cpu_ms=round(1e3 * cpu_s / max(1, frames), 4),
        pss_bytes=None if pss is None else pss - held,
        frames=frames,
        dropped=dropped,
        skipped=skipped,
        others_share=None if others is None else round(max(0.0, others) / wall_s / cores, 3),
        seconds=round(wall_s, 3),
    )
    if not frames:
        return Reply(fault=Fault("CameraError", "no frame came", where="the source"))
    card, useful = engine.card, engine.preprocess.useful(view(request.config.camera))
    name = f"{card.name} {card.version}".strip()
    return Reply(figures, Facts(name, card.labels, engine.classifier.facts.runtime, useful))


def _frames(
    request: Request,
    read: Read,
    process: Callable[[Frame], None],
    seconds: float,
    most: int | None = None,
) -> tuple[int, int]:
    """Process frames for ``seconds``; return how many came, and how many were replaced."""
    until = time.monotonic() + seconds
    frames, first, last = 0, -1, -1
    while time.monotonic() < until and (most is None or frames < most):
        if os.getppid() != request.parent:
            os._exit(1)  # nobody waits for the reply
        try:
            frame = read()
        except EndOfSource:
            break
        if frame is None:
            continue
        first, last = (frame.sequence if first < 0 else first), frame.sequence
        process(frame)
        frames += 1
    return frames, max(0, last - first + 1 - frames) if frames else 0


@contextmanager
def _made_up(request: Request, pictures: Pictures) -> Iterator[Read]:
    """Yield what returns the made-up frame now due."""
    from edge.camera.pace import Pace
    from edge.cli.tune import scenes

    pace, camera = Pace(request.fps, fast=False), request.config.camera

    def read() -> Frame | None:
        due = pace.wait(POLL_S)
        return None if due is None else scenes.frame(pictures, due[0], camera, due[1])

    yield read


@contextmanager
def _source(request: Request, preprocess: Preprocessor) -> Iterator[Read]:
    """Yield what returns the next frame of what the config names."""
    from edge.camera.pace import Pace
    from edge.camera.spec import camera_spec

    replace = msgspec.structs.replace
    config = replace(request.config.camera, fps=request.fps)
    if request.files:
        config = replace(config, pace="fast", loop=True)
    camera = camera_spec(config, preprocess).open()
    pace = Pace(request.fps, fast=False)

    def from_file() -> Frame | None:
        due = pace.wait(POLL_S)
        frame = None if due is None else camera.read(POLL_S)
        if frame is None or due is None:
            return None
        return Frame(due[0], due[1], frame.pixels, frame.format, frame.view)

    def live() -> Frame | None:
        return camera.read(POLL_S)

    try:
        yield from_file if request.files else live
    finally:
        camera.close()


def _busy_s() -> float | None:
    """Return the CPU time of all processes since boot. Source: proc_stat(5)."""
    try:
        ticks = [int(one) for one in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
