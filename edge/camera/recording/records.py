"""Records of a recording: the JSON members. Pure.

A recording is Start, Source, then frames (each a Seen and its picture), events and gaps, with a
Source again where the camera's pictures change, and End. Times are the recording machine's
``time.monotonic_ns()``.
"""

from __future__ import annotations

import contextlib
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import Meta

from edge.config import SmoothingConfig
from edge.contract import CameraMode, ModelInfo, Thresholds
from edge.frames import PixelFormat, View

VERSION: Final = 1
"""Of the format; one that is higher is not read."""
LABELS_MAX: Final = 100_000
Count = Annotated[int, Meta(ge=0, lt=2**62)]
Score = Annotated[float, Meta(ge=-0.01, le=1.01)]
"""0 to 1, but for rounding."""
Side = Annotated[int, Meta(ge=1, le=65_535)]
Text = Annotated[str, Meta(max_length=4_096)]
Moment = Annotated[float, Meta(ge=0, lt=253_402_300_800)]
EndReason = Literal["seconds", "bytes", "stopped", "source ended", "disk", "fault"]
"""Why a recording ended: its two limits, a signal, the source, the disk, an error."""


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """A JSON member of a recording."""


class Start(Record, frozen=True, tag="start"):
    """What recorded, and with what.

    started       wall clock of ``monotonic_ns``, seconds since 1970
    lossless      pixels are as the model got them; else JPEG
    smoothing     as configured; ``thresholds`` are those that were in force
    config        the tables [camera] and [model], without credentials
    """

    version: Count
    edge: Text
    device: Text
    started: Moment
    monotonic_ns: Count
    lossless: bool
    model: ModelInfo
    smoothing: SmoothingConfig
    thresholds: Thresholds
    config: dict[str, Any] = {}


class Source(Record, frozen=True, tag="camera"):
    """The camera's mode, and the pictures that follow.

    width, height  of the recorded part, in its own layout before ``view`` is applied
    format         of the pixels that a picture becomes
    view           still to be applied to them
    """

    mode: CameraMode
    width: Side
    height: Side
    format: PixelFormat
    view: View


class Seen(Record, frozen=True, tag="frame"):
    """A frame, and what the model and the window said; its picture is the next member.

    scores   (C,) of this frame alone; None where the model gave no probabilities
    invalid  why it gave none
    label    of the window after this frame; ``score`` as in ``state``
    """

    sequence: Count
    captured_ns: Count
    scores: Annotated[tuple[Score, ...], Meta(max_length=LABELS_MAX)] | None
    invalid: Text = ""
    label: str | None = None
    score: Score = 0.0
    partial: bool = True


class Happened(Record, frozen=True, tag="event"):
    """An event as it would have been published."""

    event: dict[str, Any]


class Gap(Record, frozen=True, tag="gap"):
    """The camera was away: the window begins again."""


class End(Record, frozen=True, tag="end"):
    """The recording was closed. dropped: gaps in the frame numbers."""

    reason: EndReason
    frames: Count
    dropped: Count


Any_ = Start | Source | Seen | Happened | Gap | End
"""Every record."""


class _Version(msgspec.Struct, frozen=True):
    kind: str = ""
    version: int = 0


encode: Final = msgspec.json.Encoder().encode
_decoder: Final = msgspec.json.Decoder(Any_)


def decode(content: bytes) -> Any_:
    """Return the record in ``content``. Raises ValueError that says what is wrong."""
    try:
        return cast("Any_", _decoder.decode(content))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            newer = msgspec.json.decode(content, type=_Version)
            if newer.kind == "start" and newer.version > VERSION:
                text = f"version {newer.version}: expected {VERSION}; a newer edge has made it"
                raise ValueError(text) from exc
        raise ValueError(str(exc)) from exc
