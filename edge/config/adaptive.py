"""The table [adaptive]: less work while nothing moves, while it is hot, or within a CPU budget."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from msgspec import Meta

from edge.config.table import Rate, Share, Table
from edge.errors import ConfigError

LOWEST_CELSIUS: Final = 40.0
"""A limit below it would be exceeded by a machine that does nothing."""


class AdaptiveConfig(Table, frozen=True):
    """Which frames need not be classified. Every part is off unless it is set.

    motion       frames that look like the last classified one are skipped
    max_skip_s   but never for longer than this
    max_celsius  the frame rate is lowered so that the processor stays below; 0: off
    cpu_share    of all cores, that this process may use: the frame rate is lowered to it; 0: off
    min_fps      the frame rate is not lowered below this
    """

    changed_by: ClassVar = "set"

    motion: bool = False
    max_skip_s: Annotated[float, Meta(ge=0.1, le=5)] = 2.0
    max_celsius: Annotated[float, Meta(ge=0, le=120)] = 0.0
    cpu_share: Share = 0.0
    min_fps: Rate = 1.0

    @property
    def governs(self) -> bool:
        """Whether there is a limit to keep."""
        return bool(self.max_celsius or self.cpu_share)

    def check(self, where: str) -> None:
        """Raise ConfigError for a limit that every running machine is above."""
        if 0 < self.max_celsius < LOWEST_CELSIUS:
            raise ConfigError(
                "`max_celsius` is below the temperature of a processor at rest",
                where=f"{where}.max_celsius",
                expected=f"0 (off), or at least {LOWEST_CELSIUS:g}",
                got=f"{self.max_celsius:g}",
                hint="75 is 5 degrees below where a Raspberry Pi 4 throttles",
            )
