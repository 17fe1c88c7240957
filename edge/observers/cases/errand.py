"""One slow call for a request, on a thread of its own; its answer is given on the loop's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edge.background import Call
from edge.errors import EdgeError, boundary

Settle = Callable[[Mapping[str, Any], str], None]
"""Takes an answer, and an error or an empty text."""


class Errand:
    """Holds at most one call."""

    def __init__(self) -> None:
        self._call: Call[Mapping[str, Any]] | None = None
        self._settle: Settle = lambda answer, error: None

    def start(self, do: Callable[[], Mapping[str, Any]], settle: Settle) -> None:
        """Call ``do``; ``settle`` gets what it returns. Raises EdgeError where one is under way."""
        if self._call is not None:
            raise EdgeError("another request is under way", hint="send it again")
        self._call, self._settle = Call(do, name="cases-request"), settle

    def poll(self) -> None:
        """Answer, once the call has ended."""
        if self._call is None or not self._call.wait(0):
            return
        call, self._call = self._call, None
        try:
            with boundary(EdgeError, "the request failed", "cases"):
                answer = call.result()
        except EdgeError as exc:
            self._settle({}, str(exc))
        else:
            self._settle(answer, "")

    def close(self) -> None:
        """Leave the call behind."""
        if self._call is not None:
            self._call = None
            self._settle({}, "cases was switched off meanwhile")
