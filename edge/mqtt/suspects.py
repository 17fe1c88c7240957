"""Finds the message on which a broker repeatedly closes the connection. Pure.

A broker of MQTT 3.1.1 closes the connection on a packet that is too long, or retained where it
retains none; others do so for a topic that is not allowed. The message would be the first of the
next connection again, and nothing else would ever arrive. After CAREFUL such ends in a row one
message goes at a time; the one that was underway at ROW of them is set aside for a while. One that
the same connection has outlived, at this length or longer, is not the cause: the network is.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from edge.messages import Seconds

CAREFUL: Final = 2
ROW: Final = 4
SHORT_S: Final = 60.0
"""The first messages of a connection that lasts longer are not the cause of its end."""
RECENT_S: Final = 2.0
"""A message of QoS 0 sent at most so long before the end may be the cause."""
RECENT: Final = 100
ASIDE_S: Final = 600.0
"""How long a topic is set aside the first time; each time after that twice as long."""
ASIDE_MAX_S: Final = 86_400.0

INNOCENT: Final = frozenset({0x89, 0x8B, 0x8D, 0x8E, 0x98, 0x9C, 0x9D})
"""Reasons to disconnect that no message causes (MQTT 5.0, 3.14.2.1): busy, shut down, timeout,
taken over, administrator, moved."""


class Suspects:
    """Remembers what was underway when connections ended.

    A name is the topic of a message, or "subscription TOPIC", of 0 bytes.
    """

    def __init__(self) -> None:
        self._underway: dict[int, tuple[str, int]] = {}  # packet id -> name and bytes, in order
        self._recent: deque[tuple[Seconds, str, int]] = deque(maxlen=RECENT)
        self._passed: dict[str, int] = {}  # over this connection: name -> largest bytes
        self._common: dict[str, int] = {}  # in all ends of this row: name -> smallest bytes
        self._ends = 0
        self._up_s = 0.0
        self._aside: dict[str, tuple[int, Seconds]] = {}  # name -> from so many bytes, until when
        self._aside_s = ASIDE_S

    @property
    def careful(self) -> bool:
        """Whether one message may go at a time."""
        return self._ends >= CAREFUL

    def up(self, now_s: Seconds) -> None:
        """Begin a connection."""
        self._up_s = now_s
        self._underway.clear()
        self._recent.clear()
        self._passed.clear()

    def sent(self, number: int, name: str, size: int, certain: bool, now_s: Seconds) -> None:
        """Record a message underway; ``certain``: an acknowledgement will come."""
        if certain:
            self._underway[number] = name, size
        else:
            self._recent.append((now_s, name, size))

    def taken(self, number: int) -> None:
        """Record an acknowledgement."""
        if (taken := self._underway.pop(number, None)) is not None:
            self._pass(*taken)

    def tick(self, now_s: Seconds) -> None:
        """Forget the row of ends once a connection has lasted."""
        if self._ends and now_s - self._up_s >= SHORT_S:
            self.calm()

    def calm(self) -> None:
        """Forget the row: the broker is away, or all is well."""
        self._ends = 0
        self._common.clear()

    def down(self, now_s: Seconds) -> tuple[str, int] | None:
        """Record the end of a connection; return the name set aside now, and its bytes, if any."""
        underway: dict[str, int] = {}
        for at, name, size in self._recent:
            if now_s - at > RECENT_S:
                self._pass(name, size)
        recent = [(name, size) for at, name, size in self._recent if now_s - at <= RECENT_S]
        for name, size in (*self._underway.values(), *recent):
            if size > self._passed.get(name, -1):
                underway.setdefault(name, size)
        common = {
            name: min(size, self._common[name])
            for name, size in underway.items()
            if name in self._common
        }
        if common:
            self._ends += 1
        else:  # the row begins here
            common, self._ends = underway, bool(underway)
        self._common = common
        if self._ends < ROW:
            return None
        name, size = next(iter(common.items()))
        before = name in self._aside
        self._aside[name] = (0 if before else size), now_s + self._aside_s
        self._aside_s = min(2 * self._aside_s, ASIDE_MAX_S)
        self.calm()
        return name, size

    def _pass(self, name: str, size: int) -> None:
        """Record that the broker has kept the connection after such a message."""
        self._passed[name] = max(size, self._passed.pop(name, 0))
        if len(self._passed) > RECENT:  # answers go to whatever topic was asked for
            del self._passed[next(iter(self._passed))]

    def aside(self, name: str, size: int, now_s: Seconds) -> bool:
        """Return whether a message of this size is set aside."""
        if not self._aside or name not in self._aside:
            return False
        from_bytes, until_s = self._aside[name]
        if now_s >= until_s:
            del self._aside[name]
            return False
        return size >= from_bytes
