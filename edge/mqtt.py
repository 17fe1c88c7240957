"""The connection to the broker.

Rule 1: only this file imports paho.
Rule 2: the frame loop never waits for the network. While the broker is away, per-frame results
        and telemetry are dropped and counted, retained messages are kept (the newest of each
        topic) and sent on reconnect, and events wait, at most ``QUEUED`` of them, in memory.

Two threads meet here: the daemon's, which publishes, and paho's network loop, which runs the
callbacks. [1] marks what both touch; ``_lock`` guards it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge.errors import PublishError
from edge.types import Message, Seconds

log = logging.getLogger(__name__)
QUEUED: Final = 1000
"""Events kept while the broker is away; when full the oldest is dropped and counted."""


class Publisher:
    """Publishes messages; once told to connect, connects again by itself.

    will   published by the broker if this process vanishes
    birth  published on every connect, after the retained messages
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        client_id: str,
        will: Message,
        birth: Message,
        username: str = "",
        password: str = "",
        keepalive_s: int = 30,
        reconnect_s: int = 30,
    ) -> None:
        self._where = f"{host}:{port}"
        self._birth = birth
        self._lock = threading.Lock()
        self._online = False  # [1]
        self._retained: dict[str, Message] = {}  # [1] newest of each topic
        self._events: deque[Message] = deque()  # [1] waiting for the broker
        self._told = False
        self._connects_total = 0
        self.unsent_total = 0
        """Messages that nobody will get: dropped while the broker was away."""
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        if username:
            self._client.username_pw_set(username, password)
        self._client.will_set(will.topic, will.payload, will.qos, will.retain)
        self._client.reconnect_delay_set(1, reconnect_s)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.connect_async(host, port, keepalive_s)

    def connect(self) -> None:
        """Begin to connect; returns at once. What was published before goes first."""
        self._client.loop_start()

    @property
    def online(self) -> bool:
        """Whether the broker is there now."""
        return self._online

    @property
    def reconnects_total(self) -> int:
        """How often the broker came back."""
        return max(0, self._connects_total - 1)

    def publish(self, message: Message) -> None:
        """Hand ``message`` over; never waits, never raises for a broker that is away."""
        with self._lock:
            if message.retain:
                self._retained[message.topic] = message
            if self._online:
                self._send(message)
            elif message.qos == 0:
                self.unsent_total += 1
            elif not message.retain:
                if len(self._events) >= QUEUED:
                    self._events.popleft()
                    self.unsent_total += 1
                self._events.append(message)

    def close(self, farewell: Message, timeout_s: Seconds) -> None:
        """Publish ``farewell``, wait until the broker has it, and disconnect."""
        with self._lock:
            online = self._online
            sent = self._send(farewell) if online else None
        if sent is not None:
            try:
                sent.wait_for_publish(timeout_s)
            except (RuntimeError, ValueError):
                log.warning("broker %s: went before the farewell", self._where)
        self._client.disconnect()
        self._client.loop_stop()

    def _send(self, message: Message) -> paho.MQTTMessageInfo:
        return self._client.publish(message.topic, message.payload, message.qos, message.retain)

    def _on_connect(self, client: paho.Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            self._tell(f"refused the connection: {reason}")
            return
        log.info("broker %s: connected", self._where)
        with self._lock:
            self._told = False
            self._connects_total += 1
            self._online = True
            for message in self._retained.values():
                self._send(message)
            while self._events:
                self._send(self._events.popleft())
            self._send(self._birth)

    def _on_connect_fail(self, client: paho.Client, _: Any) -> None:
        self._tell("cannot be reached")

    def _on_disconnect(self, client: paho.Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        # No lock: paho may hold one of its own here that `publish` waits for under ours.
        was, self._online = self._online, False
        if was and reason.is_failure:
            self._tell(f"gone: {reason}")

    def _tell(self, what: str) -> None:
        """Log once per outage, not once per try."""
        if not self._told:
            self._told = True
            log.warning("broker %s: %s; running on and trying again", self._where, what)


def subscribe(
    host: str,
    port: int,
    topics: list[str],
    on_message: Callable[[str, bytes], None],
    on_connection: Callable[[bool], None],
    *,
    username: str = "",
    password: str = "",
) -> Callable[[], None]:
    """Call ``on_message`` with topic and payload from paho's thread; return what ends it.

    Raises PublishError where the broker cannot be reached at first.
    """
    client = paho.Client(CallbackAPIVersion.VERSION2)
    if username:
        client.username_pw_set(username, password)

    def connected(_: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        if not reason.is_failure:
            client.subscribe([(topic, 1) for topic in topics])
        on_connection(not reason.is_failure)

    client.on_connect = connected
    client.on_disconnect = lambda *_: on_connection(False)
    client.on_message = lambda _, __, message: on_message(message.topic, bytes(message.payload))
    try:
        client.connect(host, port)
    except OSError as exc:
        raise PublishError(
            f"broker cannot be reached: {exc}", where=f"{host}:{port}", mend="check --broker"
        ) from exc
    client.loop_start()

    def end() -> None:
        client.disconnect()
        client.loop_stop()

    return end
