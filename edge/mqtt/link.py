"""One connection after the other, each by a client of its own.

A client that paho reconnects sends what it still holds in an order of its own, an old retained
message after the newest. Here a lost connection takes all it held with it; what must arrive is
kept above, by the publisher, which learns from ``happened`` what has arrived.

Two threads meet: the daemon's, and paho's network loop, whose callbacks do nothing but append to
``_happened`` [1]; a deque needs no lock for that.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Final, Literal, TypeAlias

import paho.mqtt.client as paho

from edge.messages import Broker, Message
from edge.mqtt.access import Access, Outgoing, incoming, reason
from edge.types import Seconds

Happening: TypeAlias = Literal[
    "up", "refused", "unreachable", "down", "taken", "denied", "deaf", "message"
]
"""What ``Link.happened`` tells: connected; turned away; nobody there; lost; a message is with the
broker (QoS 1) or on its way (QoS 0); one that the broker does not let us send; a subscription that
it does not allow; a message has come."""
WAITING: Final = 1000
"""Happenings not yet seen to, beyond which messages that come are ignored."""
ANSWER_S: Final = 60.0
"""Longest wait for the broker's answer; paho gives up sooner, unless it has failed altogether."""
SHORT_S: Final = 30.0
"""A connection that ends sooner counts as another failure to connect."""


class Link:
    """The way to one broker.

    will    published by the broker if this process vanishes
    topics  subscribed to on every connect
    user    name and value that every message carries (MQTT 5)
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
    ) -> None:
        self._access, self._outgoing = Access(broker), Outgoing(user)
        self._client_id, self._will, self._topics = client_id, will, topics
        self._reconnect_s = broker.reconnect_s
        self._happened: deque[tuple[object, Happening, Any]] = deque()  # [1]
        self._client: paho.Client | None = None
        self._ended = threading.Event()  # set by paho's thread
        self._opened_s = self._up_since_s = 0.0
        self._again_at_s = float("inf")
        self._delay_s = 1.0
        self.waiting = False
        """A first answer of this broker is still to come."""

    def open(self) -> None:
        """Begin to connect; returns at once."""
        # It tries once; when to try again is decided here.
        client = self._access.client(self._client_id, reconnect=False)
        client.will_set(self._will.topic, self._will.payload, self._will.qos, self._will.retain)

        def tell(what: Happening, value: Any = None) -> None:
            self._happened.append((client, what, value))

        def on_connect(_: Any, __: Any, ___: Any, code: Any, ____: Any) -> None:
            if code.is_failure:
                tell("refused", str(code))
                return
            if self._topics:
                client.subscribe([(topic, 1) for topic in self._topics])
            tell("up")

        def on_message(_: Any, __: Any, message: paho.MQTTMessage) -> None:
            if len(self._happened) < WAITING:
                tell("message", incoming(message))

        client.on_connect, client.on_message = on_connect, on_message
        # paho calls this one while it handles the error, and does not pass it on.
        client.on_connect_fail = lambda _, __: tell("unreachable", reason(sys.exc_info()[1]))

        def on_publish(_: Any, __: Any, number: int, code: Any, ____: Any) -> None:
            tell("denied" if code.is_failure else "taken", number)

        def on_subscribe(_: Any, __: Any, ___: Any, codes: list[Any], ____: Any) -> None:
            for topic, code in zip(self._topics, codes, strict=False):
                if code.is_failure:
                    tell("deaf", f"{topic}: {code}")

        client.on_publish, client.on_subscribe = on_publish, on_subscribe
        ended = self._ended = threading.Event()

        def on_disconnect(_: Any, __: Any, ___: Any, code: Any, ____: Any) -> None:
            tell("down", str(code))
            ended.set()

        client.on_disconnect = on_disconnect
        self._client, self._again_at_s, self.waiting = client, float("inf"), True
        self._opened_s = time.monotonic()
        client.connect_async(**self._access.connection())
        client.loop_start()

    def happened(self) -> Iterator[tuple[Happening, Any]]:
        """Yield what has happened since; connect again when it is time to."""
        while self._happened:
            client, what, value = self._happened.popleft()
            if client is not self._client:
                continue
            now = time.monotonic()
            if what in ("up", "refused", "unreachable", "down"):
                self.waiting = False
            if what == "up":
                self._up_since_s = now
            elif what == "refused":
                self._retry(now, self._reconnect_s)
            elif what in ("unreachable", "down"):
                lasted = self._up_since_s and now - self._up_since_s >= SHORT_S
                self._retry(now, 1.0 if lasted else self._delay_s)
            yield what, value
        now = time.monotonic()
        if self.waiting and self._client and now - self._opened_s > ANSWER_S:
            self.waiting = False
            self._client.disconnect()
            self._retry(now, self._delay_s)
            yield "unreachable", f"no answer in {ANSWER_S:.0f} s"
        if now >= self._again_at_s:
            self.open()

    def send(self, message: Message) -> int:
        """Hand a message to paho; return the number by which "taken" will name it."""
        assert self._client is not None
        properties = self._outgoing.properties(message) if self._access.version5 else None
        sent = self._client.publish(
            message.topic, message.payload, message.qos, message.retain, properties
        )
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
        self._client, self._up_since_s = None, 0.0
        self._again_at_s = now + delay_s * random.uniform(0.75, 1.25)
        self._delay_s = min(2 * delay_s, self._reconnect_s)
