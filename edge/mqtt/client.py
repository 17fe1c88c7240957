"""paho's client, hardened against hostile brokers and messages.

Rule 1: a packet is bounded before it is held: bytes beyond PACKET_MAX are read and discarded.
Rule 2: no PUBLISH ends the connection. One that is unreadable is acknowledged and counted.
Rule 3: paho's thread never ends unnoticed: ``on_ended`` is called, whatever ended it.

paho has no hooks for these, so private methods of it are overridden; the tests with hand-made
brokers fail if paho stops calling them. Everything runs on paho's thread except ``publish``,
``subscribe``, ``unsubscribe`` and ``disconnect``.

[1] ``disconnect`` may come while paho's thread still makes the connection. paho would forget it,
    connect, and so end the next connection, which has the same client id. ``disconnect`` sets the
    flag, then looks for a socket; paho's thread stores the socket, then looks at the flag. At least
    one of them sees the other: no CONNECT is sent, or a DISCONNECT follows.
"""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import (
    CallbackAPIVersion,
    MQTTErrorCode,
    MQTTProtocolVersion,
    _ConnectionState,
)
from paho.mqtt.properties import (  # type: ignore[attr-defined]  # the first is not in its list
    MQTTException,
    Properties,
)
from paho.mqtt.reasoncodes import ReasonCode

from edge.messages import Incoming
from edge.mqtt import packets
from edge.mqtt.addresses import dial
from edge.mqtt.limits import Limits, limits
from edge.mqtt.websocket import WebSocket
from edge.text import escaped

if TYPE_CHECKING:
    from paho.mqtt.client import SocketLike  # which it has for checkers alone

log = logging.getLogger(__name__)
PACKET_MAX: Final = 256 * 1024
"""Bytes held of one packet."""
CHUNK: Final = 64 * 1024
"""Bytes per read."""
UNWRITTEN_MAX: Final = 2000
"""Outgoing packets, acknowledgements included, that a broker may leave unread."""
AGAIN_S: Final = 1.0
UNREADABLE: Final = (ValueError, LookupError, TypeError, struct.error, MQTTException)
"""Raised by paho for a malformed packet."""
CONNACK, PUBLISH = 2, 3


class Client(paho.Client):
    """One connection, or with ``reconnect`` one after the other.

    payload_max  bytes; longer payloads are cut on arrival
    on_incoming  takes each message
    on_ended     called with the reason when the thread ends or (``reconnect``) starts over; ""
                 where paho has reported it already
    """

    def __init__(
        self,
        client_id: str,
        *,
        version5: bool,
        transport: Literal["tcp", "websockets"],
        reconnect: bool,
        payload_max: int,
        on_incoming: Callable[[Incoming], None],
        on_ended: Callable[[str], None],
    ) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if version5 else MQTTProtocolVersion.MQTTv311,
            transport=transport,
            reconnect_on_failure=reconnect,
        )
        self._version5, self._payload_max = version5, payload_max
        self._on_incoming, self._on_ended = on_incoming, on_ended
        self.limits: Limits | None = None
        """The broker's; None before its CONNACK."""
        self.why = ""
        """Why the connection ended, where paho does not know."""
        self.unreadable_total = 0
        self._read_s = 0.0
        self._given_up = False  # [1]

    def disconnect(
        self, reasoncode: ReasonCode | None = None, properties: Properties | None = None
    ) -> MQTTErrorCode:
        """End the connection, or the attempt at one; a client is not used again."""
        self._given_up = True  # [1], before paho looks for a socket
        return super().disconnect(reasoncode, properties)

    def _send_connect(self, keepalive: int) -> MQTTErrorCode:
        if not self._given_up:  # [1]
            return super()._send_connect(keepalive)
        self._sock_close()
        self._state = _ConnectionState.MQTT_CS_DISCONNECTED
        return MQTTErrorCode.MQTT_ERR_NO_CONN

    def _create_socket(self) -> SocketLike:
        self.why = ""
        plain = dial(self._host, self._port, self._connect_timeout)
        if self._ssl:
            plain = self._ssl_wrap_socket(plain)
        if self._transport != "websockets":
            return plain
        plain.settimeout(self._connect_timeout)
        return WebSocket(plain, self._host, self._port, self._ssl, self._websocket_path)

    def _sock_recv(self, bufsize: int) -> bytes:
        """Read a part of a packet; discard what is beyond the limit."""
        del self._in_packet["packet"][PACKET_MAX:]
        part = super()._sock_recv(min(bufsize, CHUNK))
        self._read_s = time.monotonic()
        return part

    def _packet_handle(self) -> MQTTErrorCode:
        packet, version5 = self._in_packet, self._version5
        kind, length = packet["command"] >> 4, packet["remaining_length"]
        try:
            if len(self._out_packet) > UNWRITTEN_MAX:
                self.why = f"has left {UNWRITTEN_MAX} packets unread"
                return MQTTErrorCode.MQTT_ERR_PROTOCOL
            if kind == PUBLISH:
                return self._handle_publish()
            if length > PACKET_MAX:
                raise ValueError(f"a packet of {length} bytes")
            given: dict[int, bytes] = {}
            if version5:
                packet["packet"] = packets.acknowledged(kind, packet["packet"])
                packet["packet"], given = packets.without_properties(
                    packet["command"], packet["packet"]
                )
                packet["remaining_length"] = len(packet["packet"])
            if kind == CONNACK:
                self._obey(limits(given))
            return super()._packet_handle()
        except UNREADABLE as exc:
            self.why = f"sent what is not MQTT: {escaped(str(exc), 200)}"
            return MQTTErrorCode.MQTT_ERR_PROTOCOL

    def _obey(self, given: Limits) -> None:
        """Adopt the limits of a CONNACK. Raises ValueError for a second one."""
        if self._state == _ConnectionState.MQTT_CS_CONNECTED:
            raise ValueError("a second CONNACK")
        self.limits = given
        self._max_inflight_messages = min(20, given.receive_max)
        if given.keepalive_s:
            self._keepalive = min(self._keepalive or given.keepalive_s, given.keepalive_s)

    def _handle_publish(self) -> MQTTErrorCode:
        packet = self._in_packet
        received = packets.published(
            packet["command"],
            packet["packet"],
            packet["remaining_length"],
            version5=self._version5,
            payload_max=self._payload_max,
            came_s=time.monotonic(),
        )
        if received.incoming is None:
            self.unreadable_total += 1
        else:
            self._on_incoming(received.incoming)
        return self._acknowledge(received)

    def _acknowledge(self, received: packets.Published) -> MQTTErrorCode:
        if received.qos == 1:
            return self._send_puback(received.mid)
        if received.qos == 2:  # never subscribed to; delivered at once, not when released
            return self._send_pubrec(received.mid)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _mid_generate(self) -> int:
        """Return a packet id that no unacknowledged message has."""
        while (mid := super()._mid_generate()) in self._out_messages:
            pass
        return mid

    def loop_misc(self) -> MQTTErrorCode:
        """End a connection that is silent for 1.5 times the keepalive; paho waits for 2."""
        now = time.monotonic()
        silent_s = now - max(self._ping_t, self._read_s)
        if self._sock is not None and self._ping_t > 0 and silent_s >= self._keepalive / 2:
            self.why = f"silent for {1.5 * self._keepalive:.0f} s"
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_KEEPALIVE)
        return super().loop_misc()

    def _thread_main(self) -> None:
        ends = (_ConnectionState.MQTT_CS_DISCONNECTING, _ConnectionState.MQTT_CS_DISCONNECTED)
        while True:
            wrong = ""
            try:
                self.loop_forever(retry_first_connection=True)
            except Exception as exc:  # whatever it is: the device must not fall silent
                log.debug("network thread", exc_info=True)
                wrong = escaped(f"{type(exc).__name__}: {exc}", 200)
            self._sock_close()
            self._on_ended(self.why or wrong)
            if not self._reconnect_on_failure or self._thread_terminate or self._state in ends:
                return
            time.sleep(AGAIN_S)
            self._state = _ConnectionState.MQTT_CS_CONNECT_ASYNC
