"""What a user would run instead of the daemon: ffmpeg's frames, a loop, a message for each.

    python -m deploy.peers.user_loop FILM KIND PACKAGE PORT TOPIC

KIND is naive (frames of 640x480, resized and averaged here) or small (ffmpeg scales to the
network's input, which is handed on as it is: as lean as it gets). One thread. Runs until SIGTERM.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from deploy.peers.network import interpreter, labels

SIZES: Final = {"naive": (640, 480), "small": (224, 224)}
FORMATS: Final = {"naive": "bgr24", "small": "rgb24"}
LEAN: Final[dict[str, list[str]]] = {"naive": [], "small": ["-threads", "1"]}
"""ffmpeg's decoder has more threads by itself, and the memory of each."""


def small(package: str) -> Callable[[Any], str]:
    """Return a function from the network's input to a label."""
    made, names = interpreter(package, 1), labels()
    given = made.get_input_details()[0]["index"]
    taken = made.get_output_details()[0]["index"]

    def classify(picture: Any) -> str:
        made.set_tensor(given, picture[None])
        made.invoke()
        return names[int(np.argmax(made.get_tensor(taken)[0]))]

    return classify


def naive(package: str) -> Callable[[Any], str]:
    """Return the naive loop's turn."""
    from deploy.peers.loops import Naive  # with OpenCV

    return Naive(package, 1).frame


def main(arguments: list[str]) -> None:
    """Run."""
    film, kind, package, port, topic = arguments
    width, height = SIZES[kind]
    classify = {"naive": naive, "small": small}[kind](package)
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", int(port))
    client.loop_start()
    command = ["ffmpeg", "-loglevel", "error", "-nostdin", "-re", "-stream_loop", "-1"]
    command += [*LEAN[kind], "-i", film, "-f", "rawvideo", "-pix_fmt", FORMATS[kind]]
    command += ["-sws_flags", "fast_bilinear", "-s", f"{width}x{height}", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=-1) as ffmpeg:

        def stop(number: int, _: object) -> None:
            ffmpeg.kill()
            os._exit(0)

        signal.signal(signal.SIGTERM, stop)
        assert ffmpeg.stdout is not None
        while True:
            content = ffmpeg.stdout.read(width * height * 3)
            if len(content) < width * height * 3:
                sys.exit(1)
            label = classify(np.frombuffer(content, np.uint8).reshape(height, width, 3))
            client.publish(topic, json.dumps({"ts": time.time(), "label": label}))


if __name__ == "__main__":
    main(sys.argv[1:])
