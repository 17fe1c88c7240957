"""Frozen records and Protocols that the parts pass to each other; no logic.

Times end in ``_ns`` and are ``time.monotonic_ns()`` readings. Pixels are uint8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

PixelFormat = Literal["bgr", "rgb", "gray", "yuyv", "i420", "nv12"]
"""Layout of ``Frame.pixels`` for a picture of height H and width W.

bgr, rgb     (H, W, 3)       the named colour first in memory
gray         (H, W)
yuyv         (H, W, 2)       4:2:2, packed
i420, nv12   (H * 3 / 2, W)  4:2:0, planes below each other
"""

Color = Literal["rgb", "bgr", "gray"]
Resize = Literal["stretch", "crop", "letterbox"]
Interpolation = Literal["linear", "area"]
Activation = Literal["sigmoid", "softmax", "logits"]
Seconds = float


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a camera.

    sequence     number at the source; a gap means frames that were replaced unseen
    captured_ns  when the sensor took it
    pixels       uint8, owned by the camera: valid until its next ``read``
    """

    sequence: int
    captured_ns: int
    pixels: NDArray[np.uint8]
    format: PixelFormat


@dataclass(frozen=True, slots=True)
class CameraMode:
    """What was negotiated with a camera, as told in ``info``."""

    driver: str
    source: str
    width: int
    height: int
    fps: float
    format: str


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

        Raises EndOfSource at the end of a finite source, CameraError when the device has gone.
        """

    def control(self, wanted: Mapping[str, float]) -> None:
        """Set controls by name: exposure_us, gain, brightness, contrast, saturation, sharpness.

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
class StageTimes:
    """How long one frame took in each stage."""

    preprocess_ns: int
    invoke_ns: int
    smooth_ns: int


class Preprocessing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a picture becomes the model's input; part of the model, written in its card.

    resize         stretch: the whole picture; crop: its centre, aspect kept;
                   letterbox: the whole picture, aspect kept, borders of value ``pad``
    central_fraction
                   share of each side that is used, about the picture's centre; cut before the
                   resize
    mean, std      one value or one per channel: real input = (pixel - mean) / std
    """

    color: Color = "rgb"
    resize: Resize = "stretch"
    central_fraction: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    interpolation: Interpolation = "linear"
    mean: float | tuple[float, ...] = 127.5
    std: float | tuple[float, ...] = 127.5
    pad: Annotated[int, msgspec.Meta(ge=0, le=255)] = 114


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model's output means.

    sigmoid   one value, the probability of the second label; or one value per label
    softmax   one probability per label
    logits    one raw value per label: a softmax is applied
    """

    activation: Activation = "softmax"


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A picture with the scores it must give, proven at every start.

    picture    file beside the card
    scores     (C,) in label order
    tolerance  largest difference allowed in any score; the class must be equal
    """

    picture: str
    scores: tuple[float, ...]
    tolerance: float = 0.1


class ModelCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``model.toml``: what the file beside it is and how to use it.

    accuracy   free: name of a test set -> figures, as measured by the recipe
    """

    name: str
    file: str
    labels: tuple[str, ...]
    version: str = ""
    description: str = ""
    license: str = ""
    sha256: str = ""
    preprocessing: Preprocessing = Preprocessing()
    output: Output = Output()
    golden: Golden | None = None
    accuracy: dict[str, dict[str, float | int | str]] = {}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output tensor: real = scale * (q - zero_point); scale 0 means float."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float
    zero_point: int
