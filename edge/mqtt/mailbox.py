"""Messages that have come and wait to be looked at: bounded in number and bytes.

Two threads meet in a mailbox: paho's puts, the reader's takes; a lock keeps the count [1].
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import Final

from edge.frames import Seconds
from edge.messages import Incoming

MESSAGES: Final = 1000
BYTES: Final = 2_097_152
OVERHEAD_BYTES: Final = 300
"""Of a record, beside its texts; measured with tracemalloc, Python 3.11: 280."""
FLOOD: Final = 3000
"""Messages a second in the long run beyond which a subscription is given up for a while; one takes
16 us of a PC, several times as much of a Pi."""
BURST: Final = 12_000
"""So many may come at once."""


class Mailbox:
    """A bounded queue; what does not fit is dropped and counted, the oldest stay."""

    def __init__(self, messages: int = MESSAGES, size_bytes: int = BYTES) -> None:
        self._messages_max, self._bytes_max = messages, size_bytes
        self._waiting: deque[Incoming] = deque()
        self._bytes = 0
        self._lock = threading.Lock()  # [1]
        self.dropped_total = 0
        """Messages that nobody has looked at."""

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def put(self, incoming: Incoming) -> None:
        """Keep a message, or drop it."""
        size = _bytes(incoming)
        with self._lock:
            if len(self) >= self._messages_max or self._bytes + size > self._bytes_max:
                self.dropped_total += 1
                return
            self._bytes += size
            self._waiting.append(incoming)

    def take(self) -> Incoming | None:
        """Return the oldest, None where none waits."""
        with self._lock:
            if not self._waiting:
                return None
            incoming = self._waiting.popleft()
            self._bytes -= _bytes(incoming)
            return incoming


class Flood:
    """Finds the subscription that brings more than can be read."""

    def __init__(self) -> None:
        self._left, self._counted_s = float(BURST), 0.0
        self._counts: Counter[str] = Counter()

    def add(self, topic: str, now_s: Seconds) -> str | None:
        """Count a message of the subscription ``topic``; return the largest where it floods."""
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
