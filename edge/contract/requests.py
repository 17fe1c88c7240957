"""What can be requested: every field of every request.

A capability adds a payload and a row in ``REQUESTS``; the daemon has the handler. Pure.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import Meta

from edge.config.tables import CHANGEABLE

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


class Model(Request, frozen=True):
    """Models on the device.

    action  list them; use one by name, or the one before (rollback); remove an added one; fetch a
            signed bundle and add it
    name    NAME or NAME@VERSION, of ``use`` and ``remove``
    url     of ``fetch``: below an address of bundles.fetch
    sha256  of ``fetch``: of the whole file; empty: any
    """

    action: Literal["list", "use", "rollback", "remove", "fetch"] = "list"
    name: Annotated[str, Meta(max_length=128)] = ""
    url: Annotated[str, Meta(max_length=1024)] = ""
    sha256: Annotated[str, Meta(pattern=r"^([0-9a-fA-F]{64})?\Z")] = ""


class Shadow(Request, frozen=True):
    """A candidate model beside the one at work.

    action   start one by name, stop it, or report its figures
    name     of an installed model: NAME or NAME@VERSION
    seconds  after so long it stops by itself
    """

    action: Literal["start", "stop", "report"] = "report"
    name: Annotated[str, Meta(max_length=128)] = ""
    seconds: Annotated[float, Meta(gt=0, le=31_536_000)] | None = None


class CasesList(Request, frozen=True):
    """List cases, newest first.

    sorted  the class; ``unsorted`` for those that are in none
    reason  why they were kept
    before  the name of a case: those older than it, for the next page
    limit   at most so many
    """

    sorted: Annotated[str, Meta(max_length=128)] | None = None
    reason: Annotated[str, Meta(max_length=64)] | None = None
    before: Annotated[str, Meta(max_length=128)] | None = None
    limit: Annotated[int, Meta(ge=1, le=50)] = 20


class CasesSort(Request, frozen=True, kw_only=True):
    """Sort cases into a class; all of them or none. label: ``unsorted`` to undo it."""

    names: Annotated[
        tuple[Annotated[str, Meta(max_length=128)], ...], Meta(min_length=1, max_length=200)
    ]
    label: Annotated[str, Meta(min_length=1, max_length=128)]


class CasesPurge(Request, frozen=True, kw_only=True):
    """Remove cases: the unsorted ones, or all."""

    which: Literal["unsorted", "all"]


def _set() -> type[Request]:
    """Return the payload of ``set``: a field for every table that it can change."""
    tables = ("camera", *CHANGEABLE)
    fields: list[Any] = [(name, dict[str, Any], {}) for name in tables]
    doc = """Change settings; all of them or none.

    camera   its controls, the keys of [camera.controls]
    persist  they outlive a restart
    """
    made = msgspec.defstruct(
        "Set",
        [*fields, ("persist", bool, False)],
        bases=(Request,),
        namespace={"__doc__": doc},
        frozen=True,
        forbid_unknown_fields=True,
    )
    return cast("type[Request]", made)


Set = _set()


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
    "model": Model,
    "shadow": Shadow,
    "cases-keep": Request,
    "cases-list": CasesList,
    "cases-sort": CasesSort,
    "cases-purge": CasesPurge,
}
"""Command -> its payload."""
