"""Messages of a persistent MQTT session, each acknowledged once the caller has stored it.

What was not acknowledged comes again after a lost connection or a kill, to the same client id
alone: docs/consumers.md says what mosquitto does, and does not.

Rule: at most two batches are held, one in the caller's hands and one in the queue. Receive Maximum
asks the broker for that; but mosquitto 2.0.11 sends all that it has once something is acknowledged.
So with a full queue nothing is read from the socket, and TCP holds the broker up.

[1] paho's thread adds messages; the caller's takes and acknowledges them. One lock, ``_changed``.
    A connection's number is stored with its messages: on the next connection the same packet id may
    be another message, which must not be acknowledged for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final, cast

from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.errors import EdgeError, IdentityError, PublishError
from edge.messages import Broker, Incoming
from edge.mqtt.access import Access, reason
from edge.mqtt.client import Client
from edge.mqtt.packets import Published

log = logging.getLogger(__name__)
CONNECT_S: Final = 20.0
"""Longest wait for the first connection and its subscriptions."""
ABSENCE_S: Final = 30 * 86_400
"""How long the broker keeps the session of a consumer that is away."""
TAKEN_OVER: Final = 0x8E
PAUSE_S: Final = 0.02
"""Between two looks whether there is room in the queue."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A message. connection, mid: to acknowledge it; mid is 0 at QoS 0."""

    incoming: Incoming
    connection: int
    mid: int


class _Holding(Client):
    """Leaves messages of QoS 1 to its owner, who acknowledges them."""

    owner: Source

    def _sock_recv(self, bufsize: int) -> bytes:
        """Read nothing while the queue is full; what waits in the socket shows a live broker."""
        if not self.owner.full:
            return super()._sock_recv(bufsize)
        time.sleep(PAUSE_S)
        self._ping_t, self._read_s = 0.0, time.monotonic()
        self._last_bytes_received = self._read_s
        raise BlockingIOError

    def _acknowledge(self, received: Published) -> MQTTErrorCode:
        if received.incoming is None or received.qos == 2:
            return super()._acknowledge(received)
        self.owner.add(received.incoming, received.mid)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def confirm(self, mid: int) -> None:
        """Acknowledge a message of QoS 1."""
        self._send_puback(mid)


class Source:
    """One consumer's session.

    client_id  the same at every start: it names the session
    filters    subscribed to with QoS 1
    batch      most messages in the queue, and Receive Maximum
    Raises ConfigError where the broker's TLS files cannot be used.
    """

    def __init__(self, broker: Broker, client_id: str, filters: list[str], batch: int) -> None:
        self._broker, self._filters, self._batch = broker, filters, batch
        self._client_id = client_id
        self._changed = threading.Condition()  # [1]
        self._queue: deque[Taken] = deque()
        self._connection = 0
        self._ready = self._up = False  # a connection has worked; this one does
        self._fault: EdgeError | None = None
        access = Access(broker)
        kind, ended = _Holding, self._ended
        made = access.client(client_id, kind=kind, reconnect=True, on_ended=ended)
        self._client = client = cast("_Holding", made)
        client.owner = self
        client.reconnect_delay_set(1, broker.reconnect_s)
        client.on_connect, client.on_disconnect = self._connected, self._disconnected
        client.on_subscribe = client.on_unsubscribe = self._subscribed
        self._retiring = self._ending = False
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum, properties.SessionExpiryInterval = batch, ABSENCE_S
        self._arguments: dict[str, Any] = access.connection()
        self._arguments |= {"clean_start": False, "properties": properties}

    def begin(self, *, retire: bool = False) -> None:
        """Connect and subscribe. retire: unsubscribe instead, to read what is left.

        Raises PublishError if that fails.
        """
        self._retiring = retire
        try:
            self._client.connect(**self._arguments)
        except (OSError, ValueError) as exc:
            what = f"broker cannot be reached: {reason(exc)}"
            raise PublishError(what, where=self._broker.address, hint="check --config") from exc
        self._client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._fault, CONNECT_S)
            ready, fault = self._ready, self._fault
        if fault or not ready:
            self.end()
            what = f"no answer in {CONNECT_S:g} s"
            raise fault or PublishError(what, where=self._broker.address)

    def take(self, longest_s: float, linger_s: float) -> list[Taken]:
        """Return the next messages, ``batch`` at most; none if none came in ``longest_s``.

        linger_s  how long to wait for more than the first
        Raises IdentityError if another consumer has taken the session over.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._fault, longest_s)
            if self._fault:
                raise self._fault
            if self._queue:
                self._changed.wait_for(lambda: self.full, linger_s)
            taken = list(self._queue)
            self._queue.clear()
            return taken

    def acknowledge(self, taken: list[Taken]) -> None:
        """Acknowledge messages, but for those of an earlier connection, which come again."""
        for one in taken:
            with self._changed:
                if one.mid and one.connection == self._connection:
                    self._client.confirm(one.mid)

    def end(self) -> int:
        """Disconnect; return how many were held. The session stays, unless begun to retire."""
        properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 0 if self._retiring else ABSENCE_S
        self._ending, held = True, len(self._queue)
        self._client.disconnect(properties=properties)
        self._client.loop_stop()
        return held

    def add(self, incoming: Incoming, mid: int) -> None:
        """Queue a message; called on paho's thread [1]."""
        with self._changed:
            self._queue.append(Taken(incoming, self._connection, mid))
            self._changed.notify_all()

    @property
    def full(self) -> bool:
        """Whether the queue has a whole batch."""
        return len(self._queue) >= self._batch

    # All below runs on paho's thread.

    def _connected(self, client: Any, _: Any, flags: Any, code: Any, __: Any) -> None:
        with self._changed:
            self._forget()
            if code.is_failure:
                self._refuse(f"refused the connection: {code}")
                return
            if flags.session_present:  # the answer to what follows comes after all that waits
                self._begun()
        if self._retiring:
            client.unsubscribe(self._filters)
            return
        if not flags.session_present:
            log.info("%s: a new session; nothing is kept of before", self._broker.address)
        options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
        client.subscribe([(one, options) for one in self._filters])

    def _subscribed(self, _: Any, __: Any, ___: Any, codes: list[Any], ____: Any) -> None:
        with self._changed:
            failed = [str(code) for code in codes if code.is_failure] if not self._retiring else []
            if failed:
                self._refuse(f"refused a subscription: {failed[0]}")
                return
            self._begun()

    def _begun(self) -> None:
        if not self._up:
            log.info("%s: connected", self._broker.address)
        self._ready = self._up = True
        self._changed.notify_all()

    def _refuse(self, what: str) -> None:
        """Fail at the start, and only log it later: a broker may be wrong for a while."""
        error = PublishError(what, where=self._broker.address)
        if self._ready:
            log.warning("%s", error)
        else:
            self._fault = error
        self._changed.notify_all()

    def _disconnected(self, _: Any, __: Any, ___: Any, code: Any, ____: Any) -> None:
        if code.value == TAKEN_OVER and not self._ending:
            with self._changed:
                what = "another consumer has connected with the same --name and --group"
                self._fault = IdentityError(what, where=self._client_id)
                self._changed.notify_all()
            self._client.disconnect()  # or the two would take the session from each other for ever
        self._ended(self._client.why or str(code))

    def _ended(self, why: str) -> None:
        if why and self._ready and not self._ending:
            log.warning("%s: connection lost: %s", self._broker.address, why)
        with self._changed:
            self._forget()

    def _forget(self) -> None:
        """Drop what has not been taken: it comes again on the next connection."""
        self._connection += 1
        self._up = False
        self._queue.clear()
