"""What the daemon said last, each with its age; the newest events. Pure: time is given.

Rule: nothing stale looks fresh. ``stale`` is true while the daemon is away, or connected and silent
for longer than it should be.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from edge.web.link import News

KEPT: Final = ("info", "state", "telemetry", "result")
EVENTS: Final = 500
EVENTS_BYTES: Final = 1_000_000
"""Kept events; beyond either limit the oldest goes."""
SILENCE: Final = 3
SILENCE_MIN_S: Final = 15.0
"""Intervals of telemetry without one, and seconds, after which a daemon counts as silent."""


class _Stamp(msgspec.Struct, frozen=True):
    ts: float = 0.0


Network = tuple[str, str, str, float]
"""Checksums of the network at work, its head, the second model; and when that is asked."""


class _Publish(msgspec.Struct, frozen=True):
    telemetry_interval_s: float = 10.0


class _Own(msgspec.Struct, frozen=True):
    second_below: float = 0.0


class _Settings(msgspec.Struct, frozen=True):
    publish: _Publish = _Publish()
    model: _Own = _Own()


class _Model(msgspec.Struct, frozen=True):
    sha256: str = ""
    head_sha256: str = ""
    second_sha256: str = ""


class _Info(msgspec.Struct, frozen=True):
    model: _Model = _Model()
    config: _Settings = _Settings()


@dataclass(slots=True)
class Said:
    """One message. came_s: monotonic, when it was published as far as that is known."""

    payload: msgspec.Raw
    came_s: float


class Newest:
    """The newest message of each topic, and the connection to the daemon.

    error  why the daemon is away; empty while it is connected
    """

    def __init__(self, now_s: float) -> None:
        self._said: dict[str, Said] = {}
        self.events: deque[dict[str, Any]] = deque()
        self._events_bytes = 0
        self.connected = False
        self.error = "not connected yet"
        self._since_s = now_s
        self._interval_s = 10.0
        self.model: Network | None = None

    def turn(self, connected: bool, error: str, now_s: float) -> bool:
        """Note that the daemon has come or gone; return whether that is new."""
        changed = connected != self.connected
        self.error = error
        if changed:
            self.connected, self._since_s = connected, now_s
        return changed

    def take(self, news: News, now_s: float, wall_s: float) -> None:
        """Keep a message. What the daemon had said before we came is as old as it says."""
        came_s = now_s
        if news.retained and news.topic in KEPT:
            came_s -= max(0.0, wall_s - _decoded(news.payload, _Stamp, _Stamp(wall_s)).ts)
        raw = msgspec.Raw(news.payload)
        if news.topic in KEPT:
            self._said[news.topic] = Said(raw, came_s)
        if news.topic == "info":
            about = _decoded(news.payload, _Info, _Info())
            model, below = about.model, about.config.model.second_below
            self.model = model.sha256, model.head_sha256, model.second_sha256, below
            self._interval_s = about.config.publish.telemetry_interval_s
        if news.topic == "event":
            self.events.append({"received_s": round(wall_s, 3), "payload": raw})
            self._events_bytes += len(news.payload)
            while len(self.events) > EVENTS or self._events_bytes > EVENTS_BYTES:
                self._events_bytes -= len(bytes(self.events.popleft()["payload"]))

    def said(self, topic: str) -> msgspec.Raw | None:
        """Return the newest payload of a topic."""
        said = self._said.get(topic)
        return said.payload if said else None

    def age_s(self, topic: str, now_s: float) -> float | None:
        """Return how old the newest payload of a topic is; None without one."""
        said = self._said.get(topic)
        return round(max(0.0, now_s - said.came_s), 3) if said else None

    def daemon(self, now_s: float) -> dict[str, Any]:
        """Return how the daemon is reached, as every answer and every heartbeat has it."""
        longest_s = max(SILENCE * self._interval_s, SILENCE_MIN_S)
        heard = [said.came_s for said in self._said.values()]
        quiet_s = now_s - max([*heard, self._since_s])
        silent = self.connected and quiet_s > longest_s
        return {
            "connected": self.connected,
            "silent": silent,
            "since_s": round(now_s - self._since_s, 3),
            "error": "silent: it says nothing" if silent else self.error,
        }

    def answer(self, topic: str, now_s: float) -> dict[str, Any]:
        """Return the answer of ``/api/<topic>``."""
        daemon = self.daemon(now_s)
        return {
            "daemon": daemon,
            "stale": daemon["silent"] or not daemon["connected"],
            "age_s": self.age_s(topic, now_s),
            "payload": self.said(topic),
        }


def _decoded(payload: bytes, kind: Any, default: Any) -> Any:
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return default
