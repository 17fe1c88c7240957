"""The table [shadow]: a candidate model beside the one at work."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from edge.config.table import Table


class ShadowConfig(Table, frozen=True):
    """A candidate model that classifies some of the frames too; nothing it says is published.

    model        as ``model.path``; empty: off. No `set` request can name one: see `shadow`
    every        one frame in so many, at most
    cpu_share    of one core, at most; of ``every`` and this the stricter decides
    threads      of the candidate's interpreter, no more than cores
    keep_frames  sampled frames in a row on which the two differ, until the frame is kept as a
                 case; 0: none is
    """

    changed_by: ClassVar = "set"
    not_by_set: ClassVar = frozenset({"model"})

    model: str = ""
    every: Annotated[int, Meta(ge=1, le=1_000_000)] = 5
    cpu_share: Annotated[float, Meta(ge=0.001, le=1)] = 0.1
    threads: Annotated[int, Meta(ge=1, le=64)] = 1
    keep_frames: Annotated[int, Meta(ge=0, le=10_000)] = 3
