"""Measures one loop in this process, on one source: a program for `make bench-peers`.

    python -m deploy.peers.shapes LOOP SOURCE THREADS SECONDS PACKAGE

LOOP is one of loops.LOOPS. SOURCE is memory (frames of the clip, decoded before), film (the clip,
read as fast as it goes) or pictures (JPEG files). THREADS is 1, also for OpenCV, or 0: one for
each core. Prints one line of JSON.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from typing import Any, Final

import cv2
import numpy as np

from deploy.peers import clock
from deploy.peers.loops import LOOPS, LabelImage, Ours, Picture
from deploy.peers.network import ROOT

CLIP: Final = ROOT / "deploy" / "demo" / "clip.mp4"
PICTURES: Final = sorted((ROOT / "deploy" / "demo" / "pictures").glob("*.jpg"))
HELD: Final = 8
"""Frames in memory: 7 MB at 640x480."""
EVERY: Final = 60
"""Frames of the clip from one that is held to the next."""


def held() -> list[Picture]:
    """Return frames of the clip."""
    capture = cv2.VideoCapture(str(CLIP))
    found: list[Picture] = []
    while len(found) < HELD:
        for _ in range(EVERY):
            capture.grab()
        done, picture = capture.retrieve()
        assert done
        found.append(np.asarray(picture, np.uint8))
    capture.release()
    return found


def from_memory(loop: Any) -> Callable[[], str]:
    """Return a turn on the next of the held frames."""
    frames = itertools.cycle(held())
    return lambda: str(loop.frame(next(frames)))


def from_film(loop: Any) -> Callable[[], str]:
    """Return a turn on the next frame of the clip, which begins again at its end."""
    if isinstance(loop, Ours):
        from edge.camera.spec import camera_spec
        from edge.config import CameraConfig

        config = CameraConfig(source=str(CLIP), pace="fast")
        camera = camera_spec(config, loop.engine.preprocess).open()

        def ours() -> str:
            frame = camera.read(1.0)
            assert frame is not None
            return loop.taken(frame)

        return ours
    capture = cv2.VideoCapture(str(CLIP))

    def plain() -> str:
        done, picture = capture.read()
        if not done:
            capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            _, picture = capture.read()
        return str(loop.frame(picture))

    return plain


def from_pictures(loop: Any) -> Callable[[], str]:
    """Return a turn on the next file."""
    paths = itertools.cycle(PICTURES)
    if isinstance(loop, Ours | LabelImage):
        return lambda: loop.file(next(paths))
    return lambda: str(loop.frame(cv2.imread(str(next(paths)))))


SOURCES: Final = {"memory": from_memory, "film": from_film, "pictures": from_pictures}


def main(arguments: list[str]) -> None:
    """Measure; print the figures."""
    name, source, threads, seconds, package = arguments
    if threads == "1":
        cv2.setNumThreads(1)
    turn = SOURCES[source](LOOPS[name](package, int(threads)))
    print(json.dumps(clock.measured(turn, float(seconds)) | clock.allocated(turn)))


if __name__ == "__main__":
    main(sys.argv[1:])
