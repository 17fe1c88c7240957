"""Keeps what the daemon says: rows of the history, made on the loop's thread, written by another.

Only while this process runs. What is lost while it does not: figures and events. The label is not:
the first state after that says for how long it has lasted.

[1] ``_waiting`` is shared with the writer, under ``_changed``; the file is the writer's alone.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Final

import msgspec

from edge.web.history_file import Figures, Happened, HistoryFile, Stretch
from edge.web.link import News

log = logging.getLogger(__name__)
NAME: Final = "history.db"
EVERY_S: Final = 5.0
"""Between two transactions: an SD card wears out by more."""
WAITING: Final = 500
"""Rows that wait; beyond that the oldest are lost, as while the disk is full."""
EVENT_BYTES: Final = 4_096
"""Of an event; a larger one is not kept."""
SAME_S: Final = 2.0
"""Two messages about one change of label differ by less."""
GAP_S: Final = 30.0
"""Between two states, at least, before nothing is known of the time between them."""


class _State(msgspec.Struct):
    ts: float
    label: str | None
    since_s: float
    paused: bool = False


class _Event(msgspec.Struct):
    id: str
    ts: float


class _Publish(msgspec.Struct):
    state_interval_s: float = 10.0


class _Settings(msgspec.Struct):
    publish: _Publish = msgspec.field(default_factory=_Publish)


class _Info(msgspec.Struct):
    config: _Settings = msgspec.field(default_factory=_Settings)


class _Times(msgspec.Struct):
    p50: float | None = None
    p99: float | None = None


class _Drift(msgspec.Struct):
    psi: dict[str, float] = {}


class _Telemetry(msgspec.Struct):
    ts: float
    fps: float | None = None
    temperature_celsius: float | None = None
    pss_bytes: int | None = None
    rss_bytes: int | None = None
    stages_ms: dict[str, _Times] = {}
    drift: _Drift | None = None


class History:
    """Takes messages, and writes rows of them every few seconds."""

    def __init__(self, state: Path) -> None:
        self.path = state / NAME
        self._file = HistoryFile(self.path)
        self._changed = threading.Condition()
        self._waiting: deque[Stretch | Happened | Figures] = deque(maxlen=WAITING)  # [1]
        self._stretch: Stretch | None = None  # [1]
        self._ending = False  # [1]
        self._gap_s = GAP_S
        self._fault = ""
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._takers = {
            "state": self._state,
            "event": self._event,
            "telemetry": self._telemetry,
            "info": self._info,
        }

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def take(self, news: News) -> None:
        """Take a message of the daemon; whatever it is, nothing is raised."""
        taker = self._takers.get(news.topic)
        if taker is not None:
            try:
                taker(news.payload)
            except (msgspec.DecodeError, ValueError, RecursionError):
                log.debug("history: %s left out", news.topic)

    def close(self) -> None:
        """Write what waits, and end."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(EVERY_S)

    def flush(self) -> None:
        """Have what waits written soon."""
        with self._changed:
            self._changed.notify()

    def _put(self, row: Stretch | Happened | Figures) -> None:
        with self._changed:
            self._waiting.append(row)

    def _state(self, payload: bytes) -> None:
        state = msgspec.json.decode(payload, type=_State)
        if state.paused:
            return
        since = state.ts - max(0.0, state.since_s)
        with self._changed:
            last = self._stretch
            if last is not None and last.label == state.label and since <= last.until + SAME_S:
                now = last._replace(until=max(last.until, state.ts))
            else:
                if last is not None and last.until < since <= last.until + self._gap_s:
                    self._waiting.append(last._replace(until=since))
                begin = (
                    max(since, last.until) if last is not None and last.until <= state.ts else since
                )
                now = Stretch(begin, max(begin, state.ts), state.label)
            self._stretch = now
            self._waiting.append(now)

    def _event(self, payload: bytes) -> None:
        event = msgspec.json.decode(payload, type=_Event)
        if len(payload) <= EVENT_BYTES:
            self._put(Happened(event.id, event.ts, payload.decode()))

    def _telemetry(self, payload: bytes) -> None:
        said = msgspec.json.decode(payload, type=_Telemetry)
        latency = said.stages_ms.get("latency", _Times())
        invoke = said.stages_ms.get("invoke", _Times())
        memory = said.pss_bytes if said.pss_bytes is not None else said.rss_bytes
        psi = max(said.drift.psi.values(), default=None) if said.drift else None
        self._put(
            Figures(
                *(said.ts, said.fps, said.temperature_celsius, memory),
                *(latency.p50, latency.p99, invoke.p50, psi),
            )
        )

    def _info(self, payload: bytes) -> None:
        interval_s = msgspec.json.decode(payload, type=_Info).config.publish.state_interval_s
        self._gap_s = max(GAP_S, 3 * interval_s)

    def _run(self) -> None:
        """Write every few seconds, until ``close``. The writer's thread."""
        self._resume()
        while not self._write_all():
            pass
        self._file.close()

    def _resume(self) -> None:
        """Go on with the label that was there when the last process ended."""
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(0o700, parents=True, exist_ok=True)
        try:
            last = self._file.newest_stretch()
        except (sqlite3.Error, OSError) as exc:
            self._say(f"history: {self.path} cannot be read: {exc}")
            return
        with self._changed:
            if self._stretch is None:
                self._stretch = last

    def _write_all(self) -> bool:
        """Wait, then write what waits; return whether this was the last time."""
        with self._changed:
            if not self._ending:
                self._changed.wait(EVERY_S)
            ending, rows = self._ending, list(self._waiting)
            self._waiting.clear()
        if not rows:
            return ending
        try:
            self._file.write(rows, time.time())
        except (sqlite3.Error, OSError) as exc:
            with self._changed:  # what has come meanwhile is newer
                kept: list[Any] = [*rows, *self._waiting]
                self._waiting.clear()
                self._waiting.extend(kept)
            self._say(f"history: {self.path} cannot be written: {exc}; it is tried again")
        else:
            self._say("")
        return ending

    def _say(self, fault: str) -> None:
        """Log a fault once, and its end."""
        if fault != self._fault:
            if fault:
                log.warning("%s", fault)
            else:
                log.info("history: it is written again")
            self._fault = fault
