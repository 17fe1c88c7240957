"""Messages that have arrived from the broker: each goes to the part that it concerns.

Runs on the loop's thread, between two frames, for a bounded time. [1] paho's thread puts messages
into the publisher's mailbox, which locks; this file takes them out.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from edge.contract import Claim
from edge.contract.encode import OFFLINE
from edge.daemon.about import Announcer
from edge.daemon.commands import Commands
from edge.daemon.events import Events
from edge.daemon.identity import Identity
from edge.daemon.rate import Throttle
from edge.frames import Seconds
from edge.messages import Incoming
from edge.mqtt import Publisher

log = logging.getLogger(__name__)
MESSAGES: Final = 50
"""Most messages between two frames."""
TICK_S: Final = 0.02
"""Longest time for them, if the last one takes no longer."""
REASSERT_S: Final = 1.0
"""Shortest time between two answers to a stale "offline"."""
ANNOUNCE_S: Final = 5.0
"""Shortest time between two announcements to Home Assistant."""
LOG_S: Final = 3600.0
"""Shortest time between two log lines about the same."""


class Mail:
    """Delivers what has arrived."""

    def __init__(
        self,
        publisher: Publisher,
        base: str,
        identity: Identity,
        commands: Commands,
        announcer: Announcer,
        events: Events,
    ) -> None:
        self._publisher, self._availability = publisher, f"{base}/availability"
        self._identity, self._commands = identity, commands
        self._announcer, self._events = announcer, events
        self._stale = Throttle(REASSERT_S)
        self._started = Throttle(ANNOUNCE_S)
        self._logged_s, self._stale_total = -LOG_S, 0

    def tick(self) -> None:
        """Deliver some messages, and do what is due. Raises IdentityError."""
        begin_s = time.monotonic()
        for _ in range(MESSAGES):
            incoming = self._publisher.incoming.take()  # [1]
            if incoming is None:
                break
            self._deliver(incoming)
            if time.monotonic() - begin_s > TICK_S:
                break
        now_s = time.monotonic()
        if self._stale.due(now_s):
            self._reassert(now_s)
        if self._started.due(now_s):
            self._announcer.announce()

    def _deliver(self, incoming: Incoming) -> None:
        if incoming.topic == self._identity.topic:
            self._claim(incoming)
        elif incoming.topic == self._availability:
            if incoming.payload == OFFLINE and not incoming.retained:
                self._stale.request()
        elif incoming.topic == self._announcer.status_topic:
            if incoming.payload == b"online":
                self._started.request()
        else:
            self._commands.execute(incoming, time.monotonic(), self._publisher.answer)

    def _claim(self, incoming: Incoming) -> None:
        settled = self._publisher.settled
        outcome = self._identity.judge(incoming, settled, time.monotonic())
        if isinstance(outcome, Claim):
            run, machine = outcome.run, outcome.machine
            line = f"another daemon has this device id: run {run} on {machine}"
            self._events.add("duplicate_id", line, run=run, machine=machine)
        elif outcome is not None:
            self._publisher.answer(outcome)

    def _reassert(self, now_s: Seconds) -> None:
        """Publish `online` again: the last will of an old connection may come after it."""
        self._stale_total += 1
        if now_s - self._logged_s >= LOG_S:
            self._logged_s = now_s
            text = "received a stale 'offline'; republishing 'online' (%d so far)"
            log.info(text, self._stale_total)
        self._publisher.reassert()
