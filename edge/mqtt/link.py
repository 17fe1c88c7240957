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
from paho.mqtt.enums import CallbackAPIVersion

from edge.types import Message, Seconds

Happening: TypeAlias = Literal["up", "refused", "unreachable", "down", "taken"]
"""What ``Link.happened`` tells: connected; turned away; nobody there; lost; a message is with the
broker (QoS 1) or on its way (QoS 0)."""
SHORT_S: Final = 30.0
"""A connection that ends sooner counts as another failure to connect."""


class Link:
    """The way to one broker.

    will         published by the broker if this process vanishes
    reconnect_s  longest wait between two tries
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        client_id: str,
        will: Message,
        username: str,
        password: str,
        keepalive_s: int,
        reconnect_s: int,
    ) -> None:
        self._host, self._port, self._client_id, self._will = host, port, client_id, will
        self._login = (username, password)
        self._keepalive_s, self._reconnect_s = keepalive_s, reconnect_s
        self._happened: deque[tuple[object, Happening, Any]] = deque()  # [1]
        self._client: paho.Client | None = None
        self._ended = threading.Event()  # set by paho's thread
        self._up_since_s = 0.0
        self._again_at_s = float("inf")
        self._delay_s = 1.0
        self.waiting = False
        """A first answer of this broker is still to come."""

    def open(self) -> None:
        """Begin to connect; returns at once."""
        client = paho.Client(  # which tries once; when to try again is decided here
            CallbackAPIVersion.VERSION2, client_id=self._client_id, reconnect_on_failure=False
        )
        if self._login[0]:
            client.username_pw_set(*self._login)
        client.will_set(self._will.topic, self._will.payload, self._will.qos, self._will.retain)

        def tell(what: Happening, value: Any = None) -> None:
            self._happened.append((client, what, value))

        client.on_connect = lambda _, __, ___, reason, ____: tell(
            "refused" if reason.is_failure else "up", str(reason)
        )
        # paho calls this one while it handles the error, and does not pass it on.
        client.on_connect_fail = lambda _, __: tell("unreachable", str(sys.exc_info()[1] or ""))
        client.on_publish = lambda _, __, number, ___, ____: tell("taken", number)
        ended = self._ended = threading.Event()

        def on_disconnect(_: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
            tell("down", str(reason))
            ended.set()

        client.on_disconnect = on_disconnect
        self._client, self._again_at_s, self.waiting = client, float("inf"), True
        client.connect_async(self._host, self._port, self._keepalive_s)
        client.loop_start()

    def happened(self) -> Iterator[tuple[Happening, Any]]:
        """Yield what has happened since; connect again when it is time to."""
        while self._happened:
            client, what, value = self._happened.popleft()
            if client is not self._client:
                continue
            now = time.monotonic()
            if what != "taken":
                self.waiting = False
            if what == "up":
                self._up_since_s = now
            elif what == "refused":
                self._retry(now, self._reconnect_s)
            elif what in ("unreachable", "down"):
                lasted = self._up_since_s and now - self._up_since_s >= SHORT_S
                self._retry(now, 1.0 if lasted else self._delay_s)
            yield what, value
        if time.monotonic() >= self._again_at_s:
            self.open()

    def send(self, message: Message) -> int:
        """Hand a message to paho; return the number by which "taken" will name it."""
        assert self._client is not None
        sent = self._client.publish(message.topic, message.payload, message.qos, message.retain)
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
