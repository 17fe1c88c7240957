"""The table [smoothing]: how scores become a label."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from edge.config.table import Share, Table
from edge.errors import ConfigError


class SmoothingConfig(Table, frozen=True):
    """How scores become a label that does not flicker.

    window       frames
    method       mean over the window, or exponential with alpha = 2 / (window + 1)
    enter, exit  smoothed score from which a label appears, and below which it disappears
    hold_frames  frames in a row for which that must hold
    """

    changed_by: ClassVar = "set"

    window: Annotated[int, Meta(ge=1, le=10_000)] = 10
    method: Literal["mean", "exponential"] = "mean"
    enter: Share = 0.6
    exit: Share = 0.4
    hold_frames: Annotated[int, Meta(ge=1, le=10_000)] = 3

    def check(self, where: str) -> None:
        """Raise ConfigError where a label would disappear at a higher score than it appears at."""
        if self.exit > self.enter:
            raise ConfigError(
                "`exit` is above `enter`",
                where=f"{where}.exit",
                expected=f"at most {self.enter}",
                got=str(self.exit),
                hint="a label must disappear at a lower score than it appears at",
            )
