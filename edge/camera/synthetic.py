"""A camera without hardware: one colour a second, red, green, blue, with a moving bar.

The sequence number determines every pixel, so a test can prove colour path and latency.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.camera import controls
from edge.camera.pace import Pace
from edge.camera.spec import CameraSpec
from edge.frames import CameraMode, ControlValue, Frame, Seconds

COLORS: Final = ((0, 0, 200), (0, 200, 0), (200, 0, 0))
"""Red, green, blue, as BGR."""


class SyntheticCamera:
    """Frames of a known pattern; never ends."""

    def __init__(self, spec: CameraSpec) -> None:
        width, height, fps = spec.config.width, spec.config.height, spec.config.fps
        self.mode = CameraMode("synthetic", "synthetic", width, height, fps, "bgr")
        self.corrupt_total = 0
        self._first, self._view = spec.first_sequence, spec.view
        self._pixels = np.zeros((height, width, 3), np.uint8)
        self._pace = Pace(fps, spec.config.pace == "fast")
        self._offset = 0

    def read(self, timeout_s: Seconds) -> Frame | None:
        """Return the frame now due; its pixels are overwritten by the next ``read``."""
        due = self._pace.wait(timeout_s)
        if due is None:
            return None
        number, captured_ns = due
        draw(self._pixels, number, self.mode.fps, self._offset)
        return Frame(self._first + number, captured_ns, self._pixels, "bgr", self._view)

    def still(self) -> Frame | None:
        """Return None: every frame is whole."""
        return None

    def control(self, values: Mapping[str, ControlValue]) -> None:
        """Set ``brightness``. Raises CameraError for any other control."""
        controls.check(values, ("brightness",), self.mode.source)
        self._offset = round(255 * float(values.get("brightness", 0.0)))

    def close(self) -> None:
        """Nothing to release."""


def draw(out: NDArray[np.uint8], number: int, fps: float, offset: int = 0) -> None:
    """Draw frame ``number`` into ``out``, (H, W, 3) BGR: its colour, and a white bar that moves."""
    color = COLORS[int(number / fps) % len(COLORS)]
    out[...] = [min(255, max(0, value + offset)) for value in color]
    left = number * 4 % out.shape[1]
    out[:, left : left + out.shape[1] // 40 + 1] = 255
