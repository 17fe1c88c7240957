"""Loops around one network: as first scripts and example programs have them, and this project's.

Each takes a BGR picture and returns a label. The first three are written after what is taught, not
as well as they could be: that is what is compared. They know only NumPy, OpenCV, Pillow and the
interpreter, so that their process has the memory that such a script has.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from deploy.peers.network import interpreter, labels

WINDOW: Final = 10
"""Scores that the naive loop averages."""
Picture = NDArray[np.uint8]


class Loop(Protocol):
    """What is compared."""

    def frame(self, picture: Picture) -> str:
        """Return the label of a BGR picture, (H, W, 3)."""


class Naive:
    """Resize, float, quantise, set_tensor, invoke, get_tensor, list.append, list.pop(0), mean."""

    def __init__(self, package: str, threads: int) -> None:
        self._interpreter = interpreter(package, threads)
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        self._labels, self._scores = labels(), list[Any]()

    def frame(self, picture: Picture) -> str:
        """One turn of the loop."""
        height, width = self._input["shape"][1:3]
        small = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), (width, height))
        image = (small.astype(np.float32) - 127.5) / 127.5
        scale, zero_point = self._input["quantization"]
        batch = np.expand_dims(np.round(image / scale + zero_point), 0).astype(self._input["dtype"])
        self._interpreter.set_tensor(self._input["index"], batch)
        self._interpreter.invoke()
        raw = self._interpreter.get_tensor(self._output["index"])[0].astype(np.float32)
        scale, zero_point = self._output["quantization"]
        self._scores.append((raw - zero_point) * scale)
        if len(self._scores) > WINDOW:
            self._scores.pop(0)
        return self._labels[int(np.argmax(np.mean(self._scores, axis=0)))]


class LabelImage:
    """Pillow's resize, expand_dims, set_tensor, invoke, squeeze, argsort.

    Source: tensorflow/lite/examples/python/label_image.py, with its interpreter kept.
    """

    def __init__(self, package: str, threads: int) -> None:
        from PIL import Image

        self._pillow = Image
        self._interpreter = interpreter(package, threads)
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        self._labels = labels()

    def frame(self, picture: Picture) -> str:
        """One turn of the loop."""
        return self.image(self._pillow.fromarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)))

    def file(self, path: Path) -> str:
        """Classify a file, as the program does."""
        return self.image(self._pillow.open(path))

    def image(self, image: Any) -> str:
        """Classify Pillow's image."""
        height, width = self._input["shape"][1:3]
        batch = np.expand_dims(image.resize((width, height)), axis=0)
        self._interpreter.set_tensor(self._input["index"], batch)
        self._interpreter.invoke()
        results = np.squeeze(self._interpreter.get_tensor(self._output["index"]))
        return str(self._labels[results.argsort()[-5:][::-1][0]])


class Picamera2Example:
    """Labels read and an interpreter made for each frame, then resize, expand_dims, invoke.

    Source: picamera2, examples/tensorflow/real_time_with_labels.py: InferenceTensorFlow, which asks
    for the four threads of a Pi.
    """

    def __init__(self, package: str, threads: int) -> None:
        self._package, self._threads = package, threads

    def frame(self, picture: Picture) -> str:
        """One turn of the loop."""
        names = labels()
        made = interpreter(self._package, self._threads)
        taken, given = made.get_input_details()[0], made.get_output_details()[0]
        height, width = taken["shape"][1:3]
        small = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), (width, height))
        made.set_tensor(taken["index"], np.expand_dims(small, axis=0))
        made.invoke()
        return names[int(np.argmax(made.get_tensor(given["index"])[0]))]


class Ours:
    """What the daemon does with a frame up to its label: preprocess, invoke, smooth."""

    def __init__(self, package: str, threads: int) -> None:
        from edge.config import Config, ModelConfig
        from edge.frames import Frame
        from edge.model import engine
        from edge.pipeline.pipeline import Pipeline
        from edge.pipeline.smoothing import Smoother

        del package  # the engine takes ours where it is installed
        self.engine = engine.load(ModelConfig(threads=threads))
        card = self.engine.card
        smoother = Smoother(card.labels, Config().smoothing, card.smoothing)
        self._pipeline = Pipeline(*self.engine.stages, smoother)
        self._record, self._sequence = Frame, 0

    def frame(self, picture: Picture) -> str:
        """Classify a picture in memory."""
        self._sequence += 1
        return self.taken(self._record(self._sequence, self._sequence * 10**8, picture, "bgr"))

    def taken(self, frame: Any) -> str:
        """Classify a frame of a camera."""
        prediction, _, _ = self._pipeline.process(frame)
        return str(getattr(prediction, "label", ""))

    def file(self, path: Path) -> str:
        """Classify a file as `edge classify` reads it: no larger than is useful."""
        from edge.pictures.read import read_pixels

        return self.frame(read_pixels(path, useful=self.engine.useful))


class Invoke:
    """The network alone, on what its input holds."""

    def __init__(self, package: str, threads: int) -> None:
        self._interpreter = interpreter(package, threads)

    def frame(self, picture: Picture) -> str:
        """Leave the picture aside."""
        del picture
        self._interpreter.invoke()
        return ""


LOOPS: Final[dict[str, Callable[[str, int], Loop]]] = {
    "naive": Naive,
    "label_image": LabelImage,
    "picamera2": Picamera2Example,
    "ours": Ours,
    "invoke": Invoke,
}
