"""The model card and its tensors: records; no logic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.config import Recommended

MODEL_MAX_BYTES: Final = 512 * 1_048_576
"""Of a model file; a larger one is not read. EfficientNet-B7 in float has 267 million."""
Color = Literal["rgb", "bgr", "gray"]
Resize = Literal["stretch", "crop", "letterbox"]
Interpolation = Literal["linear", "area"]
Activation = Literal["sigmoid", "softmax", "logits", "features"]
InputFrom = Literal["card", "metadata", "quantisation", "first layers", "assumed"]
"""Source of mean and std."""
LARGEST_SIDE: Final = 2048
"""Pixels of an input tensor's height or width; no known classifier has more than 800."""
Side = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_SIDE)]


class Preprocessing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a picture becomes the model's input: [preprocessing] of the card.

    resize         stretch: the whole picture; crop: its centre, aspect kept;
                   letterbox: the whole picture, aspect kept, borders of value ``pad``
    central_fraction
                   share of each side that is used, around the picture's centre; cropped before the
                   resize
    mean, std      one value or one per channel: real input = (pixel - mean) / std; where a card
                   leaves both out, the file's own come before these defaults
    input          height and width, for a model that leaves them open
    """

    color: Color = "rgb"
    resize: Resize = "stretch"
    central_fraction: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    interpolation: Interpolation = "linear"
    mean: float | tuple[float, ...] = 127.5
    std: float | tuple[float, ...] = 127.5
    pad: Annotated[int, msgspec.Meta(ge=0, le=255)] = 114
    input: tuple[Side, Side] | None = None


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model's output means: [output] of the card.

    sigmoid   one value, the probability of the second label; or one value per label
    softmax   one probability per label
    logits    one raw value per label: a softmax is applied; or one raw value for two labels: a
              sigmoid is applied

    features  no scores: pooled values for a head; without one, the model is only a backbone

    Where a card leaves it out, the model's last layer decides; where it has a [head], features.
    """

    activation: Activation = "softmax"


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A picture with the scores, or the features, that it must give: checked at every start.

    picture    file beside the card
    scores     (C,) in label order
    tolerance  largest difference allowed in any score, the class must be equal; of features, the
               length of the difference as a share of theirs
    features   (n,) of F features those with the numbers i * (F // n), for a model without scores
    """

    picture: str
    scores: tuple[float, ...] = ()
    tolerance: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.1
    features: tuple[float, ...] = ()


class HeadFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What runs after a network that gives features: [head] of the card.

    file    an .npz beside the card, see headfile
    sha256  of it; another is refused
    """

    file: Annotated[str, msgspec.Meta(min_length=1)]
    sha256: Annotated[str, msgspec.Meta(min_length=1)]


class BaselineFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What pictures and scores were like when the model was taught: [baseline] of the card.

    file    an .npz beside the card, see ``edge.baseline``
    sha256  of it; another is refused
    """

    file: Annotated[str, msgspec.Meta(min_length=1)]
    sha256: Annotated[str, msgspec.Meta(min_length=1)]


class ModelCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``model.toml``: what the file beside it is and how to use it.

    file       of the network, beside the card
    backbone   instead of ``file``: another model, whose network gives features; a name, or a path
               from the card's folder. Its preprocessing is this model's. Needs ``head``, ``sha256``
    sha256     of the network's file; another is refused
    head       what makes scores of the network's features
    baseline   what drift is measured from
    accuracy   free text: name of a test set -> figures, as measured by the recipe
    background labels that mean that nothing of interest is there; some of ``labels``, not all
    smoothing  thresholds that the recipe recommends
    """

    name: str
    file: str = ""
    labels: tuple[str, ...] = ()
    version: str = ""
    description: str = ""
    license: str = ""
    sha256: str = ""
    preprocessing: Preprocessing = Preprocessing()
    output: Output = Output()
    golden: Golden | None = None
    background: tuple[str, ...] = ()
    smoothing: Recommended | None = None
    backbone: str = ""
    head: HeadFile | None = None
    baseline: BaselineFile | None = None
    accuracy: dict[str, dict[str, float | int | str]] = {}


@dataclass(frozen=True, slots=True)
class Stated:
    """TFLite metadata inside a model file; empty where there are none.

    mean, std  one value or one per channel, as in Preprocessing
    size       height and width of the input
    labels     name of the packed file with the labels of the output
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size: tuple[int, int] | None = None
    labels: str = ""


@dataclass(frozen=True, slots=True)
class Affine:
    """A float model's first layers, where they only scale its input: x * factor + offset.

    factor, offset  (1,) or (C,) float64
    """

    factor: NDArray[np.float64]
    offset: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output tensor: real = scale * (q - zero_point); scale 0 means float."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float
    zero_point: int
