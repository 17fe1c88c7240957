"""One connection after the other, each by a client of its own.

A client that paho reconnects sends what it still holds in an order of its own, an old retained
message after the newest. Here a lost connection takes all it held with it; what must arrive is
kept above, by the publisher, which learns from ``happened`` what has arrived.

Two threads meet: the daemon's, and paho's network loop, whose callbacks do nothing but append to
``_happened`` [1] and fill the mailbox; a deque needs no lock for that.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Final, Literal, TypeAlias

from edge.errors import PublishError
from edge.frames import Seconds
from edge.messages import Broker, Incoming, Message
from edge.mqtt.access import Access, Outgoing, reason
from edge.mqtt.client import Client
from edge.mqtt.limits import Limits, modest
from edge.mqtt.mailbox import Flood, Mailbox
from edge.mqtt.packets import publish_bytes
from edge.mqtt.subscriptions import Subscriptions
from edge.mqtt.suspects import INNOCENT, Suspects
from edge.text import escaped

Happening: TypeAlias = Literal[
    "up", "refused", "unreachable", "down", "taken", "denied", "deaf", "flood", "aside"
]
"""What ``Link.happened`` reports: connected; turned away; nobody there; lost; a message is with the
broker (QoS 1) or on its way (QoS 0); one that the broker does not let us send; a subscription that
it does not allow; one that brings too much and is given up for a while; what the broker has hung up
on again and again, and is set aside."""
ANSWER_S: Final = 60.0
"""Longest wait for the broker's answer; paho gives up sooner, unless it has failed altogether."""
SHORT_S: Final = 30.0
"""A connection that ends sooner counts as another failure to connect."""


class SetAsideError(PublishError):
    """A message that this broker cannot take, or hangs up on."""


class Link:
    """The way to one broker.

    will     published by the broker if this process vanishes
    topics   subscribed to on every connect
    user     name and value that every message carries (MQTT 5)
    mailbox  takes what comes
    Raises ConfigError where the broker's TLS files cannot be used.
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
        self._client_id, self._will, self._mailbox = client_id, will, mailbox
        self._reconnect_s = broker.reconnect_s
        self._suspects = Suspects()
        self._subscriptions = Subscriptions(topics, self._suspects, self._access.version5)
        self._happened: deque[tuple[object, Any, Any]] = deque()  # [1]
        self._client: Client | None = None
        self._ended = threading.Event()  # set by paho's thread
        self._opened_s = self._up_since_s = 0.0
        self._again_at_s = float("inf")
        self._delay_s = 1.0
        self._unreadable = 0
        self.limits = Limits()
        """Of the connection there is, or of the last one."""
        self.waiting = False
        """A first answer of this broker is still to come."""

    @property
    def careful(self) -> bool:
        """Whether one message may go at a time: the broker hangs up again and again."""
        return self._suspects.careful

    @property
    def unreadable_total(self) -> int:
        """Messages that have come and cannot be read."""
        return self._unreadable + (self._client.unreadable_total if self._client else 0)

    def open(self) -> None:
        """Begin to connect; returns at once."""
        flood = Flood()

        def tell(what: str, value: Any = None) -> None:
            self._happened.append((client, what, value))

        def on_incoming(incoming: Incoming) -> None:
            self._mailbox.put(incoming)
            topic = self._subscriptions.of(incoming.topic)
            if too_much := flood.add(topic, incoming.came_s):
                tell("flood", too_much)

        def on_ended(why: str) -> None:
            why = why or "the network thread has ended"
            tell("down", (why, True)) if client.limits else tell("unreachable", why)
            ended.set()

        # It tries once; when to try again is decided here.
        client = self._access.client(self._client_id, on_incoming=on_incoming, on_ended=on_ended)
        will = self._will
        client.will_set(will.topic, will.payload, will.qos, will.retain)

        def on_connect(_: Any, __: Any, ___: Any, code: Any, ____: Any) -> None:
            tell("refused", (str(code), code.value)) if code.is_failure else tell("up")

        # paho calls this one while it handles the error, and does not pass it on.
        client.on_connect_fail = lambda _, __: tell("unreachable", reason(sys.exc_info()[1]))

        def on_publish(_: Any, __: Any, number: int, code: Any, ____: Any) -> None:
            tell("denied" if code.is_failure else "taken", number)

        def on_subscribe(_: Any, __: Any, number: int, codes: list[Any], ____: Any) -> None:
            failed = [str(code) for code in codes if code.is_failure]
            tell("answered", (number, failed[0] if failed else ""))

        def on_disconnect(_: Any, __: Any, flags: Any, code: Any, ____: Any) -> None:
            said = flags.is_disconnect_packet_from_server and code.value in INNOCENT
            tell("down", (client.why or str(code), bool(client.why or said)))
            ended.set()

        client.on_connect, client.on_publish = on_connect, on_publish
        client.on_subscribe, client.on_disconnect = on_subscribe, on_disconnect
        ended = self._ended = threading.Event()
        self._client, self._again_at_s, self.waiting = client, float("inf"), True
        self._opened_s = time.monotonic()
        client.connect_async(**self._access.connection())
        client.loop_start()

    def happened(self) -> Iterator[tuple[Happening, Any]]:
        """Yield what has happened since; connect again when it is time to."""
        while self._happened:
            client, what, value = self._happened.popleft()
            if client is self._client and self._client is not None:
                yield from self._see(self._client, what, value, time.monotonic())
        now = time.monotonic()
        if self._client is not None and self._up_since_s:
            self._suspects.tick(now)
            for topic in self._subscriptions.due(self._client, self.limits, now):
                yield "deaf", f"{topic}: it allows no wildcards"
        if self.waiting and self._client and now - self._opened_s > ANSWER_S:
            self.waiting = False
            self._client.disconnect()
            self._retry(now, self._delay_s)
            yield "unreachable", f"no answer in {ANSWER_S:.0f} s"
        if now >= self._again_at_s:
            self.open()

    def _see(
        self, client: Client, what: str, value: Any, now: Seconds
    ) -> Iterator[tuple[Happening, Any]]:
        if what in ("up", "refused", "unreachable", "down"):
            self.waiting = False
        match what:
            case "up":
                self._up_since_s, self.limits = now, client.limits or Limits()
                self._suspects.up(now)
                self._subscriptions.begin()
                for topic in self._subscriptions.due(client, self.limits, now):
                    yield "deaf", f"{topic}: it allows no wildcards"
                yield "up", None
            case "refused":
                self._suspects.calm()
                text, code = value
                if (less := modest(self._will, code)) is not None:
                    self._will = less
                    self._retry(now, 0.0)
                    return
                self._retry(now, self._reconnect_s)
                yield "refused", text
            case "unreachable":
                self._suspects.calm()
                self._retry(now, self._delay_s)
                yield "unreachable", value
            case "down":
                lasted = self._up_since_s and now - self._up_since_s >= SHORT_S
                why, innocent = value
                culprit = None
                if innocent or not self._up_since_s:
                    self._suspects.calm()
                else:
                    culprit = self._suspects.down(now)
                self._retry(now, 1.0 if lasted or culprit else self._delay_s)
                yield "down", why
                if culprit:
                    yield "aside", culprit
            case "taken" | "denied":
                self._suspects.taken(value)
                yield ("taken" if what == "taken" else "denied"), value
            case "answered":
                topic, why = self._subscriptions.answered(*value)
                if why:
                    yield "deaf", f"{topic}: {why}"
            case "flood":
                self._subscriptions.pause(client, value, now)
                yield "flood", value

    def send(self, message: Message) -> int:
        """Hand a message to paho; return the number by which "taken" will name it.

        Raises SetAsideError for one that is not for this broker.
        """
        assert self._client is not None
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
                raise SetAsideError("it has hung up on such a message", where=topic)
            sent = self._client.publish(
                topic, message.payload, message.qos, message.retain, properties
            )
        except ValueError as exc:
            raise SetAsideError(str(exc), where=escaped(topic, 200)) from exc
        self._suspects.sent(sent.mid, topic, size, message.qos > 0, now)
        return int(sent.mid)

    def close(self, timeout_s: Seconds) -> None:
        """Disconnect; wait for the end no longer than ``timeout_s``.

        paho's thread is not waited for: it may sit in a connect that nobody answers.
        """
        self._again_at_s = float("inf")
        if self._client is None:
            return
        self._client.disconnect()
        if self._up_since_s:
            self._ended.wait(timeout_s)
        self._client = None

    def _retry(self, now: Seconds, delay_s: Seconds) -> None:
        """Come back later, and not with the whole fleet at once."""
        self._unreadable = self.unreadable_total
        self._client, self._up_since_s = None, 0.0
        self._again_at_s = now + delay_s * random.uniform(0.75, 1.25)
        self._delay_s = min(max(1.0, 2 * delay_s), self._reconnect_s)
