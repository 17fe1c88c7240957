"""The table [drift]: whether frames are compared with what the model was taught, and how."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from edge.config.table import Interval, Table
from edge.errors import ConfigError

Index = Annotated[float, Meta(gt=0, le=10)]
"""A population stability index."""


class DriftConfig(Table, frozen=True):
    """Notices that pictures or scores are others than when the model was taught.

    window_s         over which light, focus and colours are compared; scores and features over six
                     times as long
    enter, exit      population stability index at which a drift begins, and below which it ends
    event_interval_s  shortest time between two events that begin for the same reason
    learn_s          a model without a baseline: so long this device learns what is usual
    rollback         a model on probation is replaced by the one before where its scores or its
                     features drift; a change of light is no model's fault
    """

    changed_by: ClassVar = "reload"

    enabled: bool = False
    window_s: Annotated[float, Meta(ge=1, le=86_400)] = 600.0
    enter: Index = 0.25
    exit: Index = 0.1
    event_interval_s: Interval = 3600.0
    learn_s: Annotated[float, Meta(ge=1, le=2_592_000)] = 86_400.0
    rollback: bool = True

    def check(self, where: str) -> None:
        """Raise ConfigError where a drift would end at a higher index than it begins at."""
        if self.exit > self.enter:
            raise ConfigError(
                "`exit` is above `enter`",
                where=f"{where}.exit",
                expected=f"at most {self.enter}",
                got=str(self.exit),
                hint="a drift must end at a lower index than it begins at",
            )
