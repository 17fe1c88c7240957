"""Records and Protocols that cross rooms: frozen, without logic.

Times end in ``_ns`` and are ``time.monotonic_ns()`` readings. Pixels are uint8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.contract.camera import CameraMode as CameraMode
from edge.messages import Seconds as Seconds

PixelFormat = Literal["bgr", "rgb", "gray", "yuyv", "i420", "nv12"]
"""Layout of ``Frame.pixels`` for a picture of height H and width W.

bgr, rgb     (H, W, 3)       the named colour first in memory
gray         (H, W)
yuyv         (H, W, 2)       4:2:2, packed
i420, nv12   (H * 3 / 2, W)  4:2:0, planes below each other
"""

Rotation = Literal[0, 90, 180, 270]
ControlValue = float | str
"""Value of a camera's control."""


@dataclass(frozen=True, slots=True)
class View:
    """The part of a picture that is used, and its orientation: turned, then mirrored, then cut.

    rotation   degrees, clockwise
    flip_*     the turned picture is mirrored
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

    sequence     number at the source; a gap means frames that were replaced before they were read
    captured_ns  when the sensor took it
    pixels       uint8, owned by the camera: valid until its next ``read``
    view         still to be applied to the pixels
    """

    sequence: int
    captured_ns: int
    pixels: NDArray[np.uint8]
    format: PixelFormat
    view: View = AS_IT_IS


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
        """Return the newest frame not yet returned, or None after ``timeout_s``.

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
    """The window's result after a frame.

    label     None while uncertain
    score     smoothed score of ``label``, or of the best label where that is None, 0 to 1
    scores    (C,) smoothed, in label order
    since_ns  capture time of the frame that set ``label``
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
    """A frame for which the model gave no probabilities. why: the reason, with figures."""

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


class FrameTimes(NamedTuple):
    """How long one frame took in each stage."""

    preprocess_ns: int
    invoke_ns: int
    smooth_ns: int


class Classified(NamedTuple):
    """One frame that has gone through the pipeline; every observer receives it.

    frame       its pixels belong to the camera: an observer copies what it keeps
    scores      (C,) float32, this frame's own, overwritten by the next one
    prediction  of the window after this frame, or why the frame has no scores
    before      the prediction before this one; None for the first
    change      of the label, if this frame caused one
    times       in the stages so far
    done_ns     when they were done
    """

    frame: Frame
    scores: NDArray[np.float32]
    prediction: Prediction | InvalidScores
    before: Prediction | None
    change: LabelChange | None
    times: FrameTimes
    done_ns: int
