"""The result of every frame, for those clients that have subscribed to it, and for nobody else.

MQTT's `result` has smoothed scores, at a rate of its own, and numbers its messages; this one shows
beside them what the model gave for the frame alone, so that a reader can tell why a label changed
or did not. Nothing of it reaches the broker or another client.

Rule: without a subscriber a frame pays one look at an empty set. Runs on the loop's thread.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import msgspec

from edge.contract import FEW_LABELS, Request
from edge.daemon.rate import Rate
from edge.frames import Classified, InvalidScores, Seconds

RATE: Final = 60
"""Frames a second, at most; between two of a faster source there is a gap in ``frame``."""
BEST: Final = 5
"""Of many labels: so many of the window and so many of the frame."""


class Subscribe(Request, frozen=True):
    """Get each frame's result, or no more."""

    results: bool = True


class Subscriber(Protocol):
    """A client, as it is seen from here."""

    def send(self, *parts: bytes) -> None:
        """Queue a message."""


class Frame(msgspec.Struct, frozen=True):
    """The payload of `frame`.

    frame    the frame's number at its source
    time_s   when it was captured, wall clock
    label    after this frame
    partial  the window is not full yet
    scores   of this frame alone; of many labels the best ones of either
    smoothed  of the window after it
    """

    frame: int
    time_s: float
    label: str | None
    partial: bool
    scores: dict[str, float]
    smoothed: dict[str, float]


class Frames:
    """Sends results to subscribers. wall: seconds since 1970."""

    def __init__(self, wall: Callable[[], Seconds] = time.time) -> None:
        self._wall = wall
        self._subscribers: set[Subscriber] = set()
        self._rate = Rate(RATE)
        self._encode = msgspec.json.Encoder().encode

    def __len__(self) -> int:
        """Return how many subscribers there are."""
        return len(self._subscribers)

    def subscribe(self, client: Subscriber, results: bool) -> None:
        """Begin, or end, to send results to a client."""
        if results:
            self._subscribers.add(client)
        else:
            self._subscribers.discard(client)

    def classified(self, seen: Classified, labels: tuple[str, ...]) -> None:
        """Send the result of a frame, if it has one and anybody wants it. labels: (C,)."""
        if not self._subscribers or isinstance(seen.prediction, InvalidScores):
            return
        if not self._rate.take(seen.done_ns / 1e9):
            return
        now, smoothed = seen.scores.tolist(), seen.prediction.scores
        chosen: Iterable[int] = range(len(labels))
        if len(labels) > FEW_LABELS:
            best = heapq.nlargest(BEST, chosen, key=smoothed.__getitem__)
            chosen = dict.fromkeys([*best, *heapq.nlargest(BEST, chosen, key=now.__getitem__)])
        age_s = (time.monotonic_ns() - seen.frame.captured_ns) / 1e9
        frame = Frame(
            frame=seen.frame.sequence,
            time_s=round(self._wall() - age_s, 3),
            label=seen.prediction.label,
            partial=seen.prediction.partial,
            scores={labels[index]: round(now[index], 4) for index in chosen},
            smoothed={labels[index]: round(smoothed[index], 4) for index in chosen},
        )
        line = b'{"topic":"frame","retained":false,"payload":%b}\n' % self._encode(frame)
        for client in self._subscribers:
            client.send(line)
