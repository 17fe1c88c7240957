"""The tables [publish] and [snapshot]: what is published, and how often."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from edge.config.table import Interval, Pixels, Rate, Table


class PublishConfig(Table, frozen=True):
    """What is published, and how often.

    result              every prediction, at most ``result_rate`` per second
    state_interval_s    the state is repeated after so long without a change
    telemetry_interval_s  between two telemetry messages
    top_k               best scores that are published, of a model with more than ten labels
    """

    changed_by: ClassVar = "set"

    result: bool = False
    result_rate: Rate = 5.0
    state_interval_s: Interval = 10.0
    telemetry_interval_s: Interval = 10.0
    top_k: Annotated[int, Meta(ge=1, le=100)] = 5


class SnapshotConfig(Table, frozen=True):
    """Published pictures.

    enabled    snapshots on request and, with ``on_event``, of the frame that changed the label
    retain     the broker keeps the newest
    caption    draw the label into it
    width      pixels, at most
    max_bytes  of the JPEG; quality is reduced first, then size
    """

    changed_by: ClassVar = "reload"

    enabled: bool = False
    on_event: bool = True
    retain: bool = False
    caption: bool = True
    width: Pixels = 640
    max_bytes: Annotated[int, Meta(ge=2_000, le=10_000_000)] = 100_000
