"""What a camera says of itself: the fields of a mode, and of ``info.camera``.

One field is declared once; a record is a sum of its bases, the last one's fields first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class CameraFormat:
    """What every camera says. format: what the camera sends."""

    driver: str
    source: str
    width: int
    height: int
    fps: float
    format: str


@dataclass(frozen=True)
class CameraStatus:
    """Whether frames come, and if not, why."""

    state: Literal["online", "recovering", "failed"] = "online"
    error: str = ""


@dataclass(frozen=True)
class CameraExtras:
    """What some cameras say.

    device  what the camera calls itself
    still   width and height of full-size pictures, where frames are smaller
    """

    device: str = ""
    still: tuple[int, int] | None = None


@dataclass(frozen=True)
class CameraMode(CameraExtras, CameraFormat):
    """What was negotiated with a camera."""


@dataclass(frozen=True)
class CameraInfo(CameraExtras, CameraStatus, CameraFormat):
    """What was negotiated with the camera; of one that has never come, what was asked of it.

    width, height  of the frames
    format         what the camera sends
    state          recovering: it is being brought back; failed: with little hope
    error          why it is not online
    device         what the camera calls itself
    still          width and height of snapshots, where frames are smaller
    """
