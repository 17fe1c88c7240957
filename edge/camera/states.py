"""Phases, health and events of a camera that is kept open: frozen records for `machine`."""

from __future__ import annotations

from dataclasses import dataclass

from edge.camera.policy import State
from edge.errors import CameraError
from edge.frames import CameraMode, Seconds


@dataclass(frozen=True, slots=True)
class Opening:
    """A camera is being opened, since ``since_s``."""

    since_s: Seconds


@dataclass(frozen=True, slots=True)
class Open:
    """A camera is open. silent_s: spent waiting for a frame since the last one."""

    silent_s: Seconds = 0.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """There is no camera; the next try is at ``retry_s``, and ``counts`` as one or not."""

    retry_s: Seconds
    counts: bool


@dataclass(frozen=True, slots=True)
class Closing:
    """The camera is being closed, since ``since_s``; ``then`` comes after that."""

    since_s: Seconds
    then: Waiting


@dataclass(frozen=True, slots=True)
class Online:
    """Frames come since ``since_s``, or are expected. losses: in a row before that."""

    since_s: Seconds
    losses: int = 0
    state: State = "online"


@dataclass(frozen=True, slots=True)
class Outage:
    """No frames come. losses: in a row; reopens: tries since the last frame."""

    state: State
    error: CameraError
    losses: int
    reopens: int = 0


Phase = Opening | Open | Closing | Waiting


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened at ``now_s``."""

    now_s: Seconds


@dataclass(frozen=True, slots=True)
class Opened(Event):
    """The opening gave a camera, in ``mode``."""

    mode: CameraMode


@dataclass(frozen=True, slots=True)
class Stale(Event):
    """The opening gave a camera, but a different one is configured by now."""


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """The opening raised ``error``."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Unattended(Event):
    """The daemon starts without waiting for the first opening."""


@dataclass(frozen=True, slots=True)
class Received(Event):
    """A frame came, in ``mode``."""

    mode: CameraMode


@dataclass(frozen=True, slots=True)
class Silent(Event):
    """No frame came within ``waited_s``."""

    waited_s: Seconds


@dataclass(frozen=True, slots=True)
class Lost(Event):
    """The camera raised ``error``; or it was silent for too long."""

    error: CameraError


@dataclass(frozen=True, slots=True)
class Reopen(Event):
    """The camera is to be opened again, as it is configured by now."""


@dataclass(frozen=True, slots=True)
class Closed(Event):
    """The closing has ended."""


@dataclass(frozen=True, slots=True)
class Waited(Event):
    """Nothing new: an opening or closing still runs, or the next try is not due yet."""


@dataclass(frozen=True, slots=True)
class Hung(Event):
    """An opening or closing has taken so long that it will never end: ``error`` says so."""

    error: CameraError


@dataclass(frozen=True, slots=True)
class Due(Event):
    """It is time for the next try."""


@dataclass(frozen=True, slots=True)
class Spent(Event):
    """A loss with no try left."""
