"""Decides what is sent to the broker and when, and what waits while it is away.

Rule: the frame loop never waits for the network. While the broker is away, results and telemetry
are dropped and counted; of each retained topic the newest message is kept; events wait in their
queue until the broker has acknowledged them. A connection that has died unnoticed gets no more than
a bounded number of unacknowledged messages.

Runs on the daemon's thread alone; the link hands over the events of paho's thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from edge.messages import Broker, EventQueue, Message, Seconds
from edge.mqtt.connection import Link, ReadDenied, Report
from edge.mqtt.lifecycle import (
    Acknowledged,
    Connected,
    Flooded,
    Lost,
    Refused,
    SetAside,
    Unreachable,
)
from edge.mqtt.mailbox import Mailbox
from edge.mqtt.outage import Outage, Seldom
from edge.mqtt.outbox import Outbox
from edge.mqtt.subscriptions import PAUSE_S

log = logging.getLogger(__name__)
CLAIM_S: Final = 1.0
"""Time for another daemon with this device id to object, before anything is published."""
LEAVE_S: Final = 0.5


class Publisher:
    """Publishes messages; after ``connect``, reconnects by itself.

    will    published by the broker if this process vanishes
    birth   published on every connect, after the retained messages
    events  their queue; what waits there already is sent first
    topics  subscribed to; messages wait in ``incoming``
    claim   returns the message that every connection begins with, given ``settled``. At the first
            one nothing else is sent for CLAIM_S: another daemon of the same name may object
    user    name and value that every message carries (MQTT 5)
    """

    def __init__(
        self,
        broker: Broker,
        *,
        client_id: str,
        will: Message,
        birth: Message,
        events: EventQueue,
        topics: tuple[str, ...] = (),
        claim: Callable[[bool], Message] | None = None,
        user: tuple[str, str] = ("", ""),
    ) -> None:
        self._where, self._birth, self._claim = broker.address, birth, claim
        self.incoming = Mailbox()
        """Incoming messages, oldest first, for the daemon's loop."""
        self._link = Link(
            broker,
            client_id=client_id,
            will=will,
            topics=topics,
            user=user,
            mailbox=self.incoming,
        )
        self._outage, self._seldom = Outage(broker.address), Seldom(broker.address)
        self._outbox = Outbox(self._link, events, self._seldom)
        self._events = events
        self._begins_at_s = float("inf")
        self._dropped = 0
        self._connects_total = 0
        self.online = False
        """Whether the broker is connected, as far as is known, and no other daemon has objected."""

    @property
    def reconnects_total(self) -> int:
        """Connections after the first."""
        return max(0, self._connects_total - 1)

    @property
    def unsent_total(self) -> int:
        """Messages dropped undelivered."""
        return self._outbox.unsent_total + self._events.dropped_total

    def connect(self) -> None:
        """Begin to connect; return at once. What was published before is sent first."""
        self._link.open()

    def publish(self, message: Message) -> None:
        """Send, queue or drop ``message``; never waits, never raises for a broker that is away."""
        if message.retain:
            self._outbox.keep(message)
        elif message.qos:
            self._outbox.add(message)
        elif self.online:
            self._outbox.let_go(message)
        else:
            self._outbox.unsent_total += 1
        self.poll()

    def poll(self) -> None:
        """Handle the link's events and send what may be sent; called often, never waits."""
        now = time.monotonic()
        for report in self._link.happened():
            self._see(report, now)
        if now >= self._begins_at_s:
            self._begin(now)
        self._events.tick(now)
        self._outage.tick(now)
        self._count()
        if self.online:
            self._outbox.send_due(now)

    def _see(self, report: Report, now: Seconds) -> None:
        match report:
            case Acknowledged(number=number, denied=denied):
                if name := self._outbox.taken(number, denied):
                    self._warn(f"does not let us write: {name}; see the broker's ACL")
            case Connected():
                self._greet(now)
            case Lost(reason=reason):
                state = "gone" if self.online or self.greeting else "ended the connection"
                self._end()
                self._outage.failed(f"{state}: {reason}", now)
            case Refused(reason=reason):
                old = "protocol version" in reason.lower()
                hint = '; set mqtt.protocol = "3.1.1"' if old else ""
                self._outage.failed(f"refused the connection: {reason}{hint}", now)
            case Unreachable(reason=reason):
                self._end()
                self._outage.failed(f"cannot be reached: {reason}", now)
            case ReadDenied(topic=topic, reason=reason):
                self._warn(f"does not let us read: {topic}: {reason}")
            case Flooded(topic=topic):
                self._warn(f"sends too much on {topic}: not read for {PAUSE_S:.0f} s")
            case SetAside(name=name, size_bytes=size):
                length = f" of {size} bytes" if size else ""
                self._warn(f"closes the connection on {name}{length}: set aside for a while")

    def settle(self, timeout_s: Seconds) -> None:
        """Wait until the broker has answered and no daemon objects, at most ``timeout_s``."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and (self._link.connecting or self.greeting):
            self._rest()

    def close(self, farewell: Message, timeout_s: Seconds) -> None:
        """Deliver what waits, then ``farewell``, and disconnect, within ``timeout_s``."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until - timeout_s / 2 and (
            self._link.connecting or self.greeting or (self.online and self._outbox.busy)
        ):
            self._rest()
        self._birth = farewell  # in case the broker answers only now
        if self.online:
            self.publish(farewell)
        while time.monotonic() < until and self.online and self._outbox.busy:
            self._rest()
        self._link.close(max(0.1, until - time.monotonic()))
        lost = self._events.volatile
        undelivered = lost + len(self._outbox.loose)
        self._end()
        self._outbox.unsent_total += lost
        if undelivered:
            log.warning("broker %s: %d messages were not delivered", self._where, undelivered)
        if kept := len(self._events) - lost:
            log.info("broker %s: %d events wait for the next run", self._where, kept)

    @property
    def settled(self) -> bool:
        """Whether this run has published anything."""
        return self._connects_total > 0

    @property
    def greeting(self) -> bool:
        """Whether another daemon with this device id may still object."""
        return self._begins_at_s < float("inf")

    def answer(self, message: Message) -> None:
        """Send now or never: an answer is of use only now."""
        if self.online or self.greeting:
            self._outbox.let_go(message)
        else:
            self._outbox.unsent_total += 1

    def reassert(self) -> None:
        """Publish the birth again, after the last will of an older connection replaced it."""
        if self.online:
            self.publish(self._birth)

    def leave(self) -> None:
        """Disconnect without a farewell: the device id belongs to another daemon."""
        self._end()
        self._link.close(LEAVE_S)

    def _greet(self, now: Seconds) -> None:
        self._outage.up(now)
        for note in self._link.limits.notes():
            self._warn(note)
        first = self._connects_total == 0
        self._begins_at_s = now + (CLAIM_S if first and self._claim else 0.0)
        if self._claim:
            self.answer(self._claim(self.settled))

    def _begin(self, now: Seconds) -> None:
        self._begins_at_s = float("inf")
        self.online = True
        self._connects_total += 1
        self._outbox.begin(self._birth, now)

    def _end(self) -> None:
        self.online = False
        self._begins_at_s = float("inf")
        self._outbox.end()

    def _count(self) -> None:
        """Log that incoming messages were dropped."""
        dropped = self.incoming.dropped_total + self._link.unreadable_total
        if dropped != self._dropped:
            self._dropped = dropped
            what = "sends unreadable messages, or more than the queue holds"
            self._seldom.warn("dropped", f"{what}: {dropped} dropped so far")

    def _warn(self, text: str) -> None:
        self._seldom.warn(text, f"{text}; the daemon goes on")

    def _rest(self) -> None:
        time.sleep(0.005)
        self.poll()
