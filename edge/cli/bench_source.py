"""Benchmark of a source: from its frames to the model's input.

Measures the CPU time of all threads of this process, a grabber's and a decoder's too, but not what
the kernel, a server or an ISP does. Frames arrive at the source's own pace, as in the daemon.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from edge.camera.spec import camera_spec
from edge.config import Config
from edge.frames import EndOfSource
from edge.model import engine as engines

WARM_UP_FRAMES: Final = 10
POLL_S: Final = 0.5


def run(config: Config, seconds: float) -> dict[str, Any]:
    """Return the cost of a frame, measured for ``seconds``. Raises EdgeError.

    cpu_ms         of all threads, for each frame that was read: the work for replaced frames is
                   in it
    preprocess_ms  of that, from the frame to the tensor
    age_ms         from capture to the return of ``read``
    """
    engine = engines.start(config.model)
    camera = camera_spec(config.camera, engine.preprocess).open()
    preprocess: list[int] = []
    ages: list[int] = []
    first, last, warm = -1, -1, False
    try:
        until = time.monotonic() + seconds
        begin_s = time.process_time()
        while time.monotonic() < until:
            frame = camera.read(POLL_S)
            if frame is None:
                continue
            ages.append(time.monotonic_ns() - frame.captured_ns)
            begin_ns = time.thread_time_ns()
            engine.preprocess(frame, engine.classifier.input_view())
            preprocess.append(time.thread_time_ns() - begin_ns)
            first, last = (frame.sequence if first < 0 else first), frame.sequence
            if not warm and len(preprocess) == WARM_UP_FRAMES:
                warm = True
                preprocess.clear()
                ages.clear()
                first, begin_s = -1, time.process_time()
    except EndOfSource:
        pass
    finally:
        spent_s = time.process_time() - begin_s
        camera.close()
    frames = len(preprocess)
    return {
        "camera": asdict(camera.mode),
        "frames": frames,
        "dropped": last - first + 1 - frames if frames else 0,
        "corrupt": camera.corrupt_total,
        "cpu_ms": round(1e3 * spent_s / frames, 3) if frames else None,
        "preprocess_ms": round(float(np.median(preprocess)) / 1e6, 3) if frames else None,
        "age_ms": round(float(np.median(ages)) / 1e6, 3) if frames else None,
    }
