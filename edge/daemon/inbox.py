"""What people and programs ask of the daemon, checked before anything is done.

Rule 1: a request that the broker had kept is ignored: nobody asks it now.
Rule 2: one with a ``transaction`` is done once. MQTT may bring it twice; the second time it gets
        the first one's answer.
Rule 3: beyond RATE a second, requests are answered with an error and not looked at.

Pure: time is given; knows no MQTT and does nothing that is asked.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import msgspec

from edge.contract import REQUESTS, Claim, Request, Transaction
from edge.frames import Seconds
from edge.messages import PAYLOAD_MAX, Incoming, Message

SIZE_MAX: Final = PAYLOAD_MAX
"""Bytes of a request; of a longer one only the beginning comes."""
RATE: Final = 20
"""Requests a second in the long run, and as many at once."""
WAIT_S: Final = 10.0
"""Longest time from a request's coming to its being looked at; it is not done after that."""
FIRST: Final = re.compile(rb'\s*\{\s*"transaction"\s*:\s*(-?\d{1,18}|"[^"\\]{0,128}")\s*,')
REMEMBERED: Final = 64
"""Answers kept for requests that come twice."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that may be done, or why not.

    command    as in the topic, empty where that is none of ours
    body       None where ``error`` says what is wrong
    answered   the answer that it has had already
    """

    command: str
    body: Request | None
    error: str
    incoming: Incoming
    transaction: str | int | None = None
    answered: Message | None = None


class Rate:
    """Says what is within a rate; ``a_second`` in the long run, and ``at_once``."""

    def __init__(self, a_second: float, at_once: float | None = None) -> None:
        self._rate, self._most = a_second, at_once or a_second
        self._left, self._refilled_s = self._most, 0.0

    def may(self, now_s: Seconds) -> bool:
        """Return whether one more is within the rate, and count it."""
        self._left = min(self._most, self._left + (now_s - self._refilled_s) * self._rate)
        self._refilled_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Repeated:
    """What somebody asks for again and again: done at once, then ``every_s`` at the most."""

    def __init__(self, every_s: Seconds) -> None:
        self._every_s, self._wanted, self._at_s = every_s, False, 0.0

    def again(self) -> None:
        """Note that it is asked for."""
        self._wanted = True

    def due(self, now_s: Seconds) -> bool:
        """Return whether it is to be done now; then it counts as done."""
        if not self._wanted or now_s < self._at_s:
            return False
        self._wanted, self._at_s = False, now_s + self._every_s
        return True


class Inbox:
    """Reads one device's requests."""

    def __init__(self) -> None:
        self.total = 0
        self._rate = Rate(RATE)
        self._answers: OrderedDict[tuple[str, str | int], Message] = OrderedDict()

    def read(self, incoming: Incoming, now_s: Seconds) -> Asked | None:
        """Return what is asked; None for what is ignored."""
        if incoming.retained:
            return None
        self.total += 1
        command = incoming.topic.rpartition("/")[2]
        command = command if command in REQUESTS else ""
        if not self._rate.may(now_s):
            return Asked(command, None, f"too many requests: at most {RATE} a second", incoming)
        if now_s - incoming.came_s > WAIT_S:
            error = f"waited longer than {WAIT_S:.0f} s: ask again"
            return Asked(command, None, error, incoming, _transaction(incoming.payload))
        if not command:
            known = ", ".join(REQUESTS)
            return Asked(command, None, f"unknown command: expected one of {known}", incoming)
        size = len(incoming.payload) + incoming.cut_bytes
        if size > SIZE_MAX:
            error = f"{size} bytes: expected at most {SIZE_MAX}"
            return Asked(command, None, error, incoming, _transaction(incoming.payload))
        try:
            body = msgspec.json.decode(incoming.payload or b"{}", type=REQUESTS[command])
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            found = _transaction(incoming.payload)
            return Asked(command, None, str(exc)[:200], incoming, found)
        except RecursionError:
            return Asked(command, None, "nested too deeply", incoming)
        given = body.transaction
        answered = None if given is None else self._answers.get((command, given))
        return Asked(command, body, "", incoming, given, answered)

    def answered(self, asked: Asked, answer: Message) -> None:
        """Remember what was answered."""
        if asked.transaction is None or asked.body is None:
            return
        self._answers[asked.command, asked.transaction] = answer
        if len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)


def claim(incoming: Incoming) -> Claim | None:
    """Return the claim in a message; None where it is none."""
    if incoming.retained or incoming.cut_bytes:
        return None
    try:
        return msgspec.json.decode(incoming.payload, type=Claim)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def yields(mine: str, settled: bool, other: Claim) -> bool:
    """Return whether this daemon leaves the name to another.

    One that has published under it never does: no message may stop a daemon at work. Of two that
    begin at once the one whose run sorts first stays.
    """
    return not settled and (other.settled or other.run < mine)


def _transaction(payload: bytes) -> str | int | None:
    """Return the transaction of a request that is otherwise wrong, if it can be read.

    Of one that has been cut it can where it comes first.
    """
    try:
        return msgspec.json.decode(payload, type=_Only).transaction
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        first = FIRST.match(payload)
    return _transaction(b'{"transaction":%b}' % first[1]) if first else None


class _Only(msgspec.Struct):
    transaction: Transaction = None
