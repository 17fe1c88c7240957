"""What may be asked: every field of every request."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

Transaction = Annotated[str, Meta(max_length=128)] | int | None


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What every request may have. ``transaction``: given back with the answer."""

    transaction: Transaction = None


class Pause(Request, frozen=True):
    """Classify nothing until ``resume``, or for so many seconds. ``paused``: false resumes."""

    paused: bool = True
    seconds: Annotated[float, Meta(gt=0, le=604_800)] | None = None


class Snapshot(Request, frozen=True):
    """Publish the newest frame as a JPEG. ``caption``: the label drawn or not."""

    caption: bool | None = None


class Set(Request, frozen=True):
    """Change settings; all of them or none.

    camera   its controls, the keys of [camera.controls]
    persist  they outlive a restart
    """

    camera: dict[str, Any] = {}
    smoothing: dict[str, Any] = {}
    publish: dict[str, Any] = {}
    log: dict[str, Any] = {}
    persist: bool = False


class Claim(msgspec.Struct, frozen=True):
    """From a daemon that has this device's name. ``settled``: it has published under it."""

    run: Annotated[str, Meta(min_length=1, max_length=64)]
    machine: Annotated[str, Meta(max_length=256)]
    settled: bool


REQUESTS: Final[dict[str, type[Request]]] = {
    "ping": Request,
    "stats": Request,
    "pause": Pause,
    "resume": Request,
    "snapshot": Snapshot,
    "set": Set,
    "reload": Request,
}
"""Command -> what may be asked with it."""
