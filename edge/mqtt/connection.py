"""The link to a broker: one connection after the other, each by a client of its own.

A client that paho reconnects sends what it still holds in an order of its own, an old retained
message after the newest. Here a lost connection discards what it held; what must arrive is kept by
the publisher, which learns from ``happened`` what has arrived.

Runs on the daemon's thread. lifecycle.py decides; session.py holds paho's thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from edge.errors import PublishError
from edge.messages import Broker, Message, Seconds
from edge.mqtt.access import Access, Outgoing
from edge.mqtt.lifecycle import (
    Closed,
    Connected,
    Event,
    Flooded,
    Lifecycle,
    Opened,
    SetAside,
    State,
    Subscribed,
    Unreachable,
)
from edge.mqtt.limits import Limits
from edge.mqtt.mailbox import Mailbox
from edge.mqtt.packets import publish_bytes
from edge.mqtt.session import Session
from edge.mqtt.subscriptions import Subscriptions
from edge.mqtt.suspects import Suspects
from edge.text import escaped


class SetAsideError(PublishError):
    """A message that this broker cannot take, or on which it closes the connection."""


@dataclass(frozen=True, slots=True)
class ReadDenied:
    """The broker does not allow a subscription."""

    topic: str
    reason: str


Report: TypeAlias = Event | SetAside | ReadDenied


class Link:
    """The link to one broker.

    will     published by the broker if this process vanishes
    topics   subscribed to on every connect
    user     name and value that every message carries (MQTT 5)
    mailbox  for incoming messages
    Raises ConfigError if the broker's TLS files cannot be used.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        client_id: str,
        will: Message,
        topics: tuple[str, ...],
        user: tuple[str, str],
        mailbox: Mailbox,
    ) -> None:
        self._access, self._outgoing = Access(broker), Outgoing(user)
        self._client_id, self._mailbox = client_id, mailbox
        self._suspects = Suspects()
        self._subscriptions = Subscriptions(topics, self._suspects, self._access.version5)
        self._life = Lifecycle(will, broker.reconnect_s, self._suspects)
        self._events: deque[tuple[Session, Event]] = deque()
        self._session: Session | None = None
        """While the link connects or is up."""
        self._unreadable = 0
        self.limits = Limits()
        """Of this connection, or of the last one."""

    @property
    def connecting(self) -> bool:
        """Whether the broker's answer is awaited."""
        return self._life.state is State.CONNECTING

    @property
    def careful(self) -> bool:
        """Whether one message may go at a time: the broker repeatedly closes the connection."""
        return self._suspects.careful

    @property
    def unreadable_total(self) -> int:
        """Incoming messages that are unreadable."""
        return self._unreadable + (self._session.client.unreadable_total if self._session else 0)

    def open(self) -> None:
        """Begin to connect; return at once."""
        if not self._life.see(Opened(), time.monotonic()):
            return
        self._session = Session(
            *(self._access, self._client_id, self._life.will),
            events=self._events,
            mailbox=self._mailbox,
            subscriptions=self._subscriptions,
        )
        try:
            self._session.begin()
        except (OSError, RuntimeError) as exc:  # no descriptor or thread left
            self._events.append((self._session, Unreachable(str(exc))))

    def happened(self) -> Iterator[Report]:
        """Yield what has happened since; reconnect when it is time to.

        Each report must be handled before the next is taken: the state changes in between.
        """
        while self._events:
            session, event = self._events.popleft()
            if session is self._session:
                yield from self._see(session, event, time.monotonic())
        now = time.monotonic()
        if (current := self._session) is not None:
            if self._life.state is State.UP:
                self._suspects.tick(now)
                yield from self._ask(current, now)
            elif silence := self._life.overdue(now):
                current.client.disconnect()
                yield from self._see(current, silence, now)
        if self._life.due(now):
            self.open()

    def _see(self, session: Session, event: Event, now: Seconds) -> Iterator[Report]:
        reports = self._life.see(event, now)
        if self._life.state not in (State.CONNECTING, State.UP):
            self._drop(session)
        for report in reports:
            match report:
                case Connected(limits=limits):
                    self.limits = limits
                    self._subscriptions.begin()
                    yield from self._ask(session, now)
                case Subscribed(number=number, refusal=refusal):
                    topic = self._subscriptions.answered(number)
                    if topic and refusal:
                        yield ReadDenied(topic, refusal)
                case Flooded(topic=topic):
                    self._subscriptions.pause(session.client, topic, now)
            yield report

    def _ask(self, session: Session, now: Seconds) -> Iterator[ReadDenied]:
        """Subscribe to the topics that are due."""
        for topic in self._subscriptions.due(session.client, self.limits, now):
            yield ReadDenied(topic, "it allows no wildcards")

    def send(self, message: Message) -> int:
        """Hand a message to paho; return the packet id that Acknowledged will carry.

        Raises SetAsideError for a message that this broker cannot take.
        """
        assert self._session is not None
        message = self.limits.adapted(message)
        properties, packed = None, 0
        if self._access.version5:
            properties, packed = self._outgoing.properties(message)
        now, topic = time.monotonic(), message.topic
        try:
            size = publish_bytes(topic, message.payload, message.qos, packed)
            if size > self.limits.packet_max:
                most = self.limits.packet_max
                raise SetAsideError(f"{size} bytes: it takes at most {most}", where=topic)
            if self._suspects.aside(topic, size, now):
                raise SetAsideError("it has closed the connection on such a message", where=topic)
            sent = self._session.client.publish(
                topic, message.payload, message.qos, message.retain, properties
            )
        except ValueError as exc:
            raise SetAsideError(str(exc), where=escaped(topic, 200)) from exc
        self._suspects.sent(sent.mid, topic, size, message.qos > 0, now)
        return int(sent.mid)

    def close(self, timeout_s: Seconds) -> None:
        """Disconnect for good; wait at most ``timeout_s`` until DISCONNECT is sent.

        paho's thread is not joined: it may hang in a connect that gets no answer.
        """
        session, up = self._session, self._life.state is State.UP
        self._life.see(Closed(), time.monotonic())
        if session is None:
            return
        session.client.disconnect()
        self._drop(session)
        if up:
            session.ended.wait(timeout_s)

    def _drop(self, session: Session) -> None:
        self._unreadable, self._session = self.unreadable_total, None
        session.release()
