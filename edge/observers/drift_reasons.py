"""Decides when a drift begins and ends, and when that is worth an event.

Rule 1: a reason begins at one index and ends below another.
Rule 2: of several reasons the first in ``REASONS`` leads: a cause comes before its consequences.
Rule 3: a reason that leads becomes an event once it has led for ``SETTLED`` samples, and not again
        for the same reason within an interval. What has begun as an event ends as one.

Pure: time arrives with the samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from edge.baseline import REASONS

SETTLED: Final = 15


class Notice(NamedTuple):
    """What is to be an event. lasted_s: of one that has ended."""

    type: Literal["drift_began", "drift_ended"]
    reason: str
    lasted_s: float = 0.0


class Reasons:
    """The reasons that hold.

    enter, exit  indices at which a reason begins, and below which it ends
    interval_ns  between two events that begin for the same reason
    """

    def __init__(self, enter: float, exit: float, interval_ns: int) -> None:
        self._enter, self._exit, self._interval_ns = enter, exit, interval_ns
        self.active: dict[str, int] = {}
        """Reason -> when it began, in ns."""
        self.unsaid_total = 0
        self._leads, self._settled = "", 0
        self._said: dict[str, int] = {}
        self._begun, self._begun_ns = "", 0

    @property
    def leading(self) -> str:
        """The first of the reasons that hold; empty where none does."""
        return next((reason for reason in REASONS if reason in self.active), "")

    def update(self, indices: Mapping[str, float], now_ns: int) -> Notice | None:
        """Take a sample's indices by reason, of those that are known; return an event or None."""
        for reason, value in indices.items():
            if value >= self._enter:
                self.active.setdefault(reason, now_ns)
            elif value < self._exit:
                self.active.pop(reason, None)
        leading = self.leading
        self._settled = self._settled + 1 if leading == self._leads else 1
        self._leads = leading
        if self._settled < SETTLED or leading == self._begun:
            return None
        return self._begin(leading, now_ns) if leading else self.end(now_ns)

    def end(self, now_ns: int) -> Notice | None:
        """Return the end of what has begun as an event; None where nothing has."""
        begun, self._begun = self._begun, ""
        lasted_s = (now_ns - self._begun_ns) / 1e9
        return Notice("drift_ended", begun, lasted_s) if begun else None

    def _begin(self, reason: str, now_ns: int) -> Notice | None:
        said_ns = self._said.get(reason)
        if said_ns is not None and now_ns - said_ns < self._interval_ns:
            self.unsaid_total += self._settled == SETTLED
            return None
        if not self._begun:
            self._begun_ns = now_ns
        self._begun, self._said[reason] = reason, now_ns
        return Notice("drift_began", reason)
