"""Incoming messages in a queue, bounded in number and bytes.

[1] Two threads meet in a mailbox: paho's puts, the reader's takes. A lock keeps the queue and its
    bytes together. ``dropped_total`` and the length are single values, read without it.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import Final

from edge.messages import Incoming, Seconds

MESSAGES: Final = 1000
BYTES: Final = 2_097_152
OVERHEAD_BYTES: Final = 300
"""Of one record besides its texts; measured with tracemalloc, Python 3.11: 280."""
FLOOD: Final = 3000
"""Messages a second, on average, beyond which a subscription is given up for a while; one takes
16 us on a PC, several times as much on a Pi."""
BURST: Final = 12_000
"""Messages that may come at once."""


class Mailbox:
    """A bounded queue; the newest message is dropped and counted when it does not fit."""

    def __init__(self, messages: int = MESSAGES, size_bytes: int = BYTES) -> None:
        self._messages_max, self._bytes_max = messages, size_bytes
        self._waiting: deque[Incoming] = deque()
        self._bytes = 0
        self._lock = threading.Lock()  # [1]
        self.dropped_total = 0
        """Messages dropped unread."""

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def put(self, incoming: Incoming) -> None:
        """Queue a message, or drop it."""
        size = _bytes(incoming)
        with self._lock:
            if len(self) >= self._messages_max or self._bytes + size > self._bytes_max:
                self.dropped_total += 1
                return
            self._bytes += size
            self._waiting.append(incoming)

    def take(self) -> Incoming | None:
        """Return the oldest message, None if there is none."""
        with self._lock:
            if not self._waiting:
                return None
            incoming = self._waiting.popleft()
            self._bytes -= _bytes(incoming)
            return incoming


class Flood:
    """Finds a subscription that brings more than can be read. Used by paho's thread alone."""

    def __init__(self) -> None:
        self._left, self._counted_s = float(BURST), 0.0
        self._counts: Counter[str] = Counter()

    def add(self, topic: str, now_s: Seconds) -> str | None:
        """Count a message of the subscription ``topic``; in a flood, return the busiest one."""
        if now_s - self._counted_s >= 1.0:
            self._left = min(float(BURST), self._left + FLOOD)
            self._counted_s = now_s
            self._counts.clear()
        self._left -= 1
        self._counts[topic] += 1
        if self._left > 0:
            return None
        self._left = float(FLOOD)
        return self._counts.most_common(1)[0][0]


def _bytes(incoming: Incoming) -> int:
    texts = len(incoming.payload) + len(incoming.correlation)
    return OVERHEAD_BYTES + texts + len(incoming.topic) + len(incoming.answer_to)
