"""Executes requests: a table from command to payload and handler, to which rooms add their rows.

A handler is called between two frames, on the loop's thread; its answer goes back the way that the
request came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from edge.contract import Request
from edge.contract.encode import Wire
from edge.daemon.inbox import Command, Inbox
from edge.errors import EdgeError
from edge.frames import Seconds
from edge.messages import Incoming, Message

Answer = Mapping[str, Any]
"""What a response has as ``data``."""
Body = TypeVar("Body", bound=Request)


class Pending:
    """An answer that comes later: a handler returns it, and calls ``settle`` in the end."""

    def __init__(self) -> None:
        self.settle: Callable[[Answer, str], None] = lambda answer, error: None
        """Called with the answer, and an error or an empty text."""


@dataclass(frozen=True, slots=True)
class Row:
    """One command: what it takes, and what executes it."""

    payload: type[Request]
    handle: Callable[[Any], Answer | Pending]


def row(payload: type[Body], handle: Callable[[Body], Answer | Pending]) -> Row:
    """Return a row whose handler takes its payload. The handler may raise EdgeError."""
    return Row(payload, handle)


class Commands:
    """Executes the requests of one device.

    count  called for each one that arrives
    once   whether one with a ``transaction`` that comes twice is done once
    """

    def __init__(
        self, wire: Wire, table: Mapping[str, Row], count: Callable[[], None], once: bool = True
    ) -> None:
        self._wire, self._table, self._count = wire, table, count
        self._inbox = Inbox({name: row.payload for name, row in table.items()}, once)

    def execute(
        self, incoming: Incoming, now_s: Seconds, answer: Callable[[Message], None]
    ) -> None:
        """Execute the request in ``incoming``; ``answer`` is called with the response."""
        command = self._inbox.read(incoming, now_s)
        if command is None:
            return
        self._count()
        if command.answered is not None:
            answer(command.answered)
            return

        def settle(data: Answer, error: str) -> None:
            response = self._response(command, data, error)
            self._inbox.answered(command, response)
            answer(response)

        data: Answer | Pending = {}
        error = command.error
        if command.body is not None:
            try:
                data = self._table[command.name].handle(command.body)
            except EdgeError as exc:
                error = str(exc)
        if isinstance(data, Pending):
            self._inbox.pends(command)
            data.settle = settle
        else:
            settle(data, error)

    def _response(self, command: Command, data: Answer, error: str) -> Message:
        return self._wire.response(
            command.name,
            command.transaction,
            data=dict(data),
            error=error,
            answer_to=command.incoming.answer_to,
            correlation=command.incoming.correlation,
        )
