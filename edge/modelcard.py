"""What a model's card says, and what its tensors are: records that parts pass on; no logic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np

MODEL_MAX_BYTES: Final = 512_000_000
"""Of a model's file; a larger one is refused before it is read."""
Color = Literal["rgb", "bgr", "gray"]
Resize = Literal["stretch", "crop", "letterbox"]
Interpolation = Literal["linear", "area"]
Activation = Literal["sigmoid", "softmax", "logits"]


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
