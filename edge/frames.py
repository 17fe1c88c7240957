"""Frozen records and Protocols that the parts pass to each other; no logic.

Times end in ``_ns`` and are ``time.monotonic_ns()`` readings. Pixels are uint8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

PixelFormat = Literal["bgr", "rgb", "gray", "yuyv", "i420", "nv12"]
"""Layout of ``Frame.pixels`` for a picture of height H and width W.

bgr, rgb     (H, W, 3)       the named colour first in memory
gray         (H, W)
yuyv         (H, W, 2)       4:2:2, packed
i420, nv12   (H * 3 / 2, W)  4:2:0, planes below each other
"""

Rotation = Literal[0, 90, 180, 270]
ControlValue = float | str
"""What a control of a camera can be set to."""
Seconds = float


@dataclass(frozen=True, slots=True)
class View:
    """Which part of a picture is used, and which way up: turned, then mirrored, then cut.

    rotation   degrees, clockwise
    flip_*     mirrored as one looks at the turned picture
    roi        left, top, width, height: shares of the upright picture
    """

    rotation: Rotation = 0
    flip_horizontal: bool = False
    flip_vertical: bool = False
    roi: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


AS_IT_IS: Final = View()


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a camera.

    sequence     number at the source; a gap means frames that were replaced unseen
    captured_ns  when the sensor took it
    pixels       uint8, owned by the camera: valid until its next ``read``
    view         what is still to be done to the pixels
    """

    sequence: int
    captured_ns: int
    pixels: NDArray[np.uint8]
    format: PixelFormat
    view: View = AS_IT_IS


@dataclass(frozen=True, slots=True)
class CameraMode:
    """What was negotiated with a camera, as told in ``info``.

    format  what the camera sends
    device  what it calls itself, where it does
    still   (width, height) of ``Camera.still``, where that is larger than the frames
    """

    driver: str
    source: str
    width: int
    height: int
    fps: float
    format: str
    device: str = ""
    still: tuple[int, int] | None = None


class EndOfSource(Exception):
    """A finite source has no further frame."""


class Camera(Protocol):
    """A source of frames. One thread calls it; it may hide a grabber thread of its own."""

    @property
    def mode(self) -> CameraMode:
        """What was negotiated; valid while open."""

    @property
    def corrupt_total(self) -> int:
        """Frames that the source held and that could not be decoded."""

    def read(self, timeout_s: Seconds) -> Frame | None:
        """Return the newest frame not yet seen, or None after ``timeout_s``.

        Raises EndOfSource at the end of a finite source, CameraError when the device has gone;
        its ``reason`` says how.
        """

    def still(self) -> Frame | None:
        """Return the next picture in full size; None where every frame has it already.

        It may be overwritten by the next ``read`` or ``still``.
        """

    def control(self, values: Mapping[str, ControlValue]) -> None:
        """Set controls by name: exposure_us, gain, brightness, contrast, saturation, ...

        Raises CameraError where the source has no such control; nothing is set then.
        """

    def close(self) -> None:
        """Release the device; safe to call twice."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the window says after a frame.

    label     None while nothing is certain
    score     smoothed score of ``label``, or of the best label where that is None, 0 to 1
    scores    (C,) smoothed, in label order
    since_ns  capture time of the frame at which ``label`` came
    partial   the window is not full yet
    """

    sequence: int
    captured_ns: int
    label: str | None
    score: float
    scores: tuple[float, ...]
    since_ns: int
    partial: bool


@dataclass(frozen=True, slots=True)
class InvalidScores:
    """A frame for which the model gave no probabilities; ``why`` with figures."""

    why: str


@dataclass(frozen=True, slots=True)
class LabelChange:
    """The label has changed.

    before_ns  how long ``before`` had lasted
    score      the best smoothed score at the change
    """

    captured_ns: int
    before: str | None
    after: str | None
    before_ns: int
    score: float


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """How long one frame took in each stage."""

    preprocess_ns: int
    invoke_ns: int
    smooth_ns: int
