"""What can be undone: where cases were before they were sorted. In memory, bounded.

Rule: beyond a limit on steps or on cases, the oldest step can no longer be undone.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import Final

STEPS: Final = 50
CASES: Final = 20_000
Moves = list[tuple[str, str, str]]
"""Name of a case, its class before, and after; empty for unsorted."""


class Undo:
    """The newest steps."""

    def __init__(self) -> None:
        self._steps: OrderedDict[str, Moves] = OrderedDict()
        self._cases = 0

    def keep(self, moves: Moves) -> str:
        """Return what a step is undone with."""
        token = secrets.token_urlsafe(12)
        self._steps[token] = moves
        self._cases += len(moves)
        while len(self._steps) > STEPS or (self._cases > CASES and len(self._steps) > 1):
            self._cases -= len(self._steps.popitem(last=False)[1])
        return token

    def moves(self, token: str) -> Moves | None:
        """Return a step; None where it is not known any more."""
        return self._steps.get(token)

    def forget(self, token: str) -> None:
        """A step was undone: it cannot be again."""
        self._cases -= len(self._steps.pop(token, ()))
