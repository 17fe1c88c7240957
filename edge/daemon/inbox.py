"""Requests as they arrive, checked before anything is done.

Rule 1: a request that was delivered from the broker's retained store is ignored.
Rule 2: one with a ``transaction`` is done once. MQTT may deliver it twice; the second time it gets
        the first one's answer, or is ignored while that one is still to come.
Rule 3: beyond RATE a second, requests are answered with an error and not read.

Pure: time is given; knows no MQTT and executes nothing.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from edge.contract import REQUESTS, Request, Transaction
from edge.daemon.rate import Rate
from edge.frames import Seconds
from edge.messages import PAYLOAD_MAX, Incoming, Message

SIZE_MAX: Final = PAYLOAD_MAX
"""Bytes of a request; a longer one arrives cut."""
RATE: Final = 20
"""Requests a second in the long run, and as many at once."""
WAIT_S: Final = 10.0
"""Longest time from arrival to execution; a request that is older is refused."""
FIRST: Final = re.compile(rb'\s*\{\s*"transaction"\s*:\s*(-?\d{1,18}|"[^"\\]{0,128}")\s*,')
REMEMBERED: Final = 64
"""Answers kept for requests that are delivered twice."""


@dataclass(frozen=True, slots=True)
class Command:
    """A request that may be executed, or why not.

    name      the command in the topic, empty where that is unknown
    body      None where ``error`` says what is wrong
    answered  the answer that it got before
    """

    name: str
    body: Request | None
    error: str
    incoming: Incoming
    transaction: str | int | None = None
    answered: Message | None = None


class Inbox:
    """Reads one device's requests.

    payloads  command -> its payload
    once      Rule 2; without it, as where nothing is delivered twice, what has a ``transaction`` is
              done as often as it comes, and every error has it
    """

    def __init__(self, payloads: Mapping[str, type[Request]] = REQUESTS, once: bool = True) -> None:
        self._payloads, self._once = payloads, once
        self._rate = Rate(RATE)
        self._answers: OrderedDict[tuple[str, str | int], Message] = OrderedDict()
        self._pending: set[tuple[str, str | int]] = set()

    def read(self, incoming: Incoming, now_s: Seconds) -> Command | None:
        """Return the command in a message; None for what is ignored."""
        if incoming.retained:
            return None
        name = incoming.topic.rpartition("/")[2]
        name = name if name in self._payloads else ""
        if not self._rate.take(now_s):
            error = f"too many requests: at most {RATE} a second"
            transaction = None if self._once else _transaction(incoming.payload)
            return Command(name, None, error, incoming, transaction)
        if now_s - incoming.came_s > WAIT_S:
            error = f"waited longer than {WAIT_S:.0f} s: send it again"
            return Command(name, None, error, incoming, _transaction(incoming.payload))
        if not name:
            known = ", ".join(self._payloads)
            error = f"unknown command: expected one of {known}"
            return Command(name, None, error, incoming, _transaction(incoming.payload))
        size = len(incoming.payload) + incoming.cut_bytes
        if size > SIZE_MAX:
            error = f"{size} bytes: expected at most {SIZE_MAX}"
            return Command(name, None, error, incoming, _transaction(incoming.payload))
        try:
            body = msgspec.json.decode(incoming.payload or b"{}", type=self._payloads[name])
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            transaction = _transaction(incoming.payload)
            return Command(name, None, str(exc)[:200], incoming, transaction)
        except RecursionError:
            return Command(name, None, "nested too deeply", incoming)
        answered = None
        if self._once and body.transaction is not None:
            if (name, body.transaction) in self._pending:
                return None
            answered = self._answers.get((name, body.transaction))
        return Command(name, body, "", incoming, body.transaction, answered)

    def pends(self, command: Command) -> None:
        """Remember that a command is being executed, until it is answered."""
        if self._once and command.transaction is not None:
            self._pending.add((command.name, command.transaction))

    def answered(self, command: Command, answer: Message) -> None:
        """Remember the answer to a command."""
        if not self._once or command.transaction is None or command.body is None:
            return
        self._pending.discard((command.name, command.transaction))
        self._answers[command.name, command.transaction] = answer
        if len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)


def _transaction(payload: bytes) -> str | int | None:
    """Return the transaction of a request that is otherwise wrong, if it can be read.

    In one that was cut, it can if it comes first.
    """
    try:
        return msgspec.json.decode(payload, type=_Only).transaction
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        first = FIRST.match(payload)
    return _transaction(b'{"transaction":%b}' % first[1]) if first else None


class _Only(msgspec.Struct):
    transaction: Transaction = None
