"""The table [smoothing]: how scores become a label, and which thresholds are in force.

A config need not state ``enter`` and ``exit``: then those that the model's card recommends are in
force, or the defaults. Pure.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

import msgspec
from msgspec import Meta

from edge.config.table import Share, Table
from edge.errors import ConfigError


class SmoothingConfig(Table, frozen=True):
    """How scores become a label that does not flicker.

    window       frames
    method       mean over the window, or exponential with alpha = 2 / (window + 1)
    enter, exit  smoothed score from which a label appears, and below which it disappears; None:
                 what ``thresholds`` makes of the model's card
    hold_frames  frames in a row for which that must hold
    """

    changed_by: ClassVar = "set"

    window: Annotated[int, Meta(ge=1, le=10_000)] = 10
    method: Literal["mean", "exponential"] = "mean"
    enter: Share | None = None
    exit: Share | None = None
    hold_frames: Annotated[int, Meta(ge=1, le=10_000)] = 3

    def check(self, where: str) -> None:
        """Raise ConfigError where a label would disappear at a higher score than it appears at."""
        if self.enter is not None and self.exit is not None and self.exit > self.enter:
            raise ConfigError(
                "`exit` is above `enter`",
                where=f"{where}.exit",
                expected=f"at most {self.enter}",
                got=str(self.exit),
                hint="a label must disappear at a lower score than it appears at",
            )


class Recommended(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Thresholds that a model's card recommends: enter is at least exit."""

    enter: Share
    exit: Share


DEFAULT: Final = Recommended(0.6, 0.4)
"""In force where neither config nor card says anything."""


class Thresholds(msgspec.Struct, frozen=True):
    """The thresholds in force, and where each comes from.

    enter_from, exit_from  config: the file or a request; card: the model's; default: neither says
                           anything; enter, exit: the other one, which the config states
    """

    enter: Share
    enter_from: Literal["config", "card", "default", "exit"]
    exit: Share
    exit_from: Literal["config", "card", "default", "enter"]

    def over(self, smoothing: SmoothingConfig) -> SmoothingConfig:
        """Return ``smoothing`` with these values."""
        return msgspec.structs.replace(smoothing, enter=self.enter, exit=self.exit)

    def text(self) -> str:
        """Return them in words."""
        enter = f"enter {self.enter:g} ({self.enter_from})"
        return f"{enter}, exit {self.exit:g} ({self.exit_from})"


def thresholds(smoothing: SmoothingConfig, recommended: Recommended | None) -> Thresholds:
    """Return the thresholds in force: the config's, else the card's, else the defaults.

    Where the config states one alone, and the other would be on its wrong side, the other gets the
    same value: ``exit`` is never above ``enter``, and nobody has to state both.
    """
    source: Literal["card", "default"] = "card" if recommended else "default"
    rest = recommended or DEFAULT
    enter, exit = smoothing.enter, smoothing.exit
    if enter is not None and exit is not None:
        return Thresholds(enter, "config", exit, "config")
    if enter is not None:
        limited = rest.exit > enter
        return Thresholds(enter, "config", min(rest.exit, enter), "enter" if limited else source)
    if exit is not None:
        limited = rest.enter < exit
        return Thresholds(max(rest.enter, exit), "exit" if limited else source, exit, "config")
    return Thresholds(rest.enter, source, rest.exit, source)
