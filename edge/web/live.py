"""Server-sent events: what the daemon says, to many readers. On the loop's thread.

Rule 1: a message is encoded once, for all readers.
Rule 2: readers are bounded, and so is what waits for each; one that does not read is dropped.
Rule 3: a heartbeat says how the daemon is, so that a page sees silence.
Source: HTML Living Standard, 9.2 Server-sent events.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec

from edge.web.answers import too_many

READERS: Final = 200
WAITING: Final = 64
"""Messages that wait for a reader."""
HEARTBEAT_S: Final = 5.0


class _Reader:
    def __init__(self) -> None:
        self.waiting: deque[bytes] = deque()
        self.woken = asyncio.Event()
        self.dropped = False


class Live:
    """All readers. current: what a new one gets first; heartbeat: its data."""

    def __init__(
        self, current: Callable[[], list[bytes]], heartbeat: Callable[[], dict[str, Any]]
    ) -> None:
        self._current, self._heartbeat = current, heartbeat
        self._readers: set[_Reader] = set()
        self._ending = False
        self.dropped_total = 0

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._readers)

    def publish(self, event: bytes) -> None:
        """Queue an event for every reader."""
        for reader in self._readers:
            if len(reader.waiting) < WAITING:
                reader.waiting.append(event)
            elif not reader.dropped:
                reader.dropped = True
                self.dropped_total += 1
            reader.woken.set()

    def end(self) -> None:
        """End every reader's stream, and let in no more."""
        self._ending = True
        for reader in self._readers:
            reader.woken.set()

    def stream(self, done: contextlib.ExitStack) -> AsyncIterator[bytes]:
        """Return the stream of a new reader, who leaves when ``done`` closes. Raises Refused, 429.

        A stream whose reader was given up is not closed by itself: whoever raised the error in it
        may hold it for long.
        """
        if len(self._readers) >= READERS:
            raise too_many(f"too many readers: at most {READERS}", 10.0)
        reader = _Reader()
        self._readers.add(reader)
        done.callback(self._readers.discard, reader)
        return self._events(reader)

    async def _events(self, reader: _Reader) -> AsyncIterator[bytes]:
        yield b"retry: 2000\n\n" + b"".join(self._current())
        while not self._ending and not reader.dropped:
            reader.woken.clear()
            if not reader.waiting:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await reader.woken.wait()
                except TimeoutError:
                    yield event("heartbeat", self._heartbeat())
                    continue
            if reader.waiting:
                yield reader.waiting.popleft()  # shared by all readers until it is sent


def event(name: str, body: Any) -> bytes:
    """Return one event; its data are JSON on one line."""
    data = msgspec.json.encode(body).replace(b"\n", b" ").replace(b"\r", b" ")
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
