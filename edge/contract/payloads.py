"""Payloads: every field that is published, with its unit in its name.

`telemetry` is in a file of its own. Fields that were added later have a default, so that messages
of an older daemon can be read. Topics are relative to ``edge/<device_id>``. Pure.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import Meta

from edge.config.smoothing import Thresholds
from edge.contract.camera import CameraInfo

SCHEMA: Final = 1
"""Version of this contract; in ``info.schema``."""
Share = Annotated[float, Meta(ge=0, le=1)]
Moment = Annotated[float, Meta(ge=0, lt=253_402_300_800)]
"""Wall clock: seconds since 1970, within four-digit years."""
FEW_LABELS: Final = 10
"""Most labels of which all scores are published, and each has an entity; of more, the best."""


class Stamped(msgspec.Struct, frozen=True, kw_only=True):
    """What every payload has: ``seq`` counts the topic's messages, ``ts`` is wall-clock time."""

    seq: int
    ts: Moment


def stamped(name: str, doc: str, *parts: type[msgspec.Struct], **more: Any) -> type[Stamped]:
    """Return a payload: the stamp, then the fields of ``parts`` in their order.

    more  fields that may be absent: name -> type
    """
    fields: list[Any] = []
    for field in itertools.chain.from_iterable(map(msgspec.structs.fields, parts)):
        default = () if field.default is msgspec.NODEFAULT else (field.default,)
        fields.append((field.name, field.type, *default))
    for field_name, part in more.items():
        fields.append((field_name, part | msgspec.UnsetType, msgspec.UNSET))
    namespace = {"__doc__": doc}
    made = msgspec.defstruct(
        name, fields, bases=(Stamped,), namespace=namespace, frozen=True, kw_only=True
    )
    return cast("type[Stamped]", made)


class State(Stamped, frozen=True, kw_only=True):
    """The smoothed prediction.

    label         null while nothing is certain
    score         of ``label``, or of the best label where that is null
    scores        of every label where these are few, else the best ones, best first, and
                  ``label``'s
    since_s       how long ``label`` has lasted
    partial       the smoothing window is not full yet
    frame         sequence number of the frame
    paused        nothing is classified until ``resume``
    """

    label: str | None
    score: Share
    scores: dict[str, Share]
    since_s: float
    partial: bool
    frame: int
    paused: bool = False


class Result(State, frozen=True, kw_only=True):
    """One prediction. latency_ms: from capture to hand-off."""

    latency_ms: float


EventType = Literal[
    "label_changed",
    "frames_corrupt",
    "scores_invalid",
    "camera_lost",
    "camera_stalled",
    "camera_failed",
    "camera_recovered",
    "camera_changed",
    "paused",
    "resumed",
    "changed",
    "reloaded",
    "reload_failed",
    "model_changed",
    "model_rolled_back",
    "model_added",
    "model_refused",
    "drift_began",
    "drift_ended",
    "shadow_began",
    "shadow_ended",
    "shadow_failed",
    "duplicate_id",
    "throttled",
    "throttling_ended",
    "rate_lowered",
    "rate_restored",
]


Evidence = dict[str, float | int | str]
"""What an event rests on: figures and short texts by name."""


class Event(Stamped, frozen=True, kw_only=True):
    """Something happened. ``id`` is the same in every copy of this event."""

    id: str
    type: EventType
    before: str | None = None
    after: str | None = None
    evidence: Evidence = {}


class Response(Stamped, frozen=True, kw_only=True):
    """The answer to a request.

    transaction  the request's own
    data         what was asked for, of a request that succeeded
    error        why it failed, on one line
    """

    status: Literal["ok", "error"]
    transaction: str | int | None
    data: dict[str, Any] = {}
    error: str = ""


class ModelInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """The model and what runs it, as proven at start. What is empty by default is left out.

    input_from  who says what the pixels become (mean, std); empty of an older daemon
    background  labels that mean that nothing of interest is there
    head_sha256  of the head's file; empty of a model without one
    resize      how a picture becomes the input; crop: its centre, in the input's aspect
    central_fraction  share of each side that is used, around the picture's centre
    second, second_sha256  of the model that is asked where this one is unsure; empty: none
    """

    name: str
    version: str
    sha256: str
    labels: tuple[str, ...]
    input_shape: tuple[int, ...]
    input_dtype: str
    runtime: str
    kind: str
    xnnpack: bool
    delegated_share: float
    left_out: tuple[str, ...]
    threads: int
    golden: Literal["passed", "none"]
    input_from: Literal["", "card", "metadata", "quantisation", "first layers", "assumed"] = ""
    background: tuple[str, ...] = ()
    head_sha256: str = ""
    resize: Literal["stretch", "crop", "letterbox"] = "stretch"
    central_fraction: float = 1.0
    second: str = ""
    second_sha256: str = ""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """A device, its model, its camera and its config; ``schema`` is the contract's version.

    config      every value in force
    thresholds  those of ``config.smoothing``, and where they come from; absent of an older daemon
    """

    schema: int
    device: str
    version: str
    run: str
    machine: str
    python: str
    start_s: float
    model: ModelInfo
    camera: CameraInfo
    config: dict[str, Any]
    thresholds: Thresholds | msgspec.UnsetType = msgspec.UNSET


Info = stamped("Info", "What this device is. ``config`` holds no secret.", About)
"""The payload of ``info``."""
