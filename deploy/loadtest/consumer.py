"""A subscriber to every event, with a session that outlives its connections: what came, and when.

It knows MQTT and JSON, nothing of this project but how a name's addresses are tried.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.mqtt.addresses import dial

SESSION_S: Final = 3600
"""How long the broker keeps what waits for it."""
CONNECT_S: Final = 60.0
LATE_S: Final = 2.0
"""An event that takes longer was held up by a fault."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One event as it came: device id, id, number in its run, and delay_s, at_s (monotonic)."""

    device: str
    id: str
    seq: int
    at_s: float
    delay_s: float
    payload: bytes


class _Client(paho.Client):
    def _create_socket_connection(self) -> socket.socket:
        return dial(self._host, self._port, self._connect_timeout)


class Consumer:
    """Subscribes while the block lasts. ``ca_file``: TLS; with it ``login``."""

    def __init__(self, host: str, port: int, ca_file: str, login: tuple[str, str]) -> None:
        self.arrivals: list[Arrival] = []  # appended by paho's thread alone
        self.connections: list[float] = []  # when each began
        self._subscribed = threading.Event()
        self._client = client = _Client(
            CallbackAPIVersion.VERSION2, "events", protocol=MQTTProtocolVersion.MQTTv5
        )
        if ca_file:
            client.tls_set_context(ssl.create_default_context(cafile=ca_file))
            client.username_pw_set(*login)
        client.reconnect_delay_set(1, 4)
        client.on_connect, client.on_subscribe = self._connected, self._granted
        client.on_message = self._take
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_S
        properties.ReceiveMaximum = 100
        client.connect_async(host, port, keepalive=10, clean_start=False, properties=properties)
        client.loop_start()
        if not self._subscribed.wait(CONNECT_S):
            raise RuntimeError(f"the subscriber is not connected to {host}:{port}")

    def _connected(self, client: Any, _: Any, __: Any, code: Any, ___: Any) -> None:
        if not code.is_failure:
            self.connections.append(time.monotonic())
            client.subscribe("edge/+/event", 1)

    def _granted(self, _: Any, __: Any, ___: Any, codes: Any, ____: Any) -> None:
        if not codes[0].is_failure:
            self._subscribed.set()

    def _take(self, _: Any, __: Any, message: paho.MQTTMessage) -> None:
        body = json.loads(message.payload)
        arrival = Arrival(
            *(message.topic.split("/")[1], body["id"], body["seq"]),
            *(time.monotonic(), time.time() - body["ts"], bytes(message.payload)),
        )
        self.arrivals.append(arrival)

    def late_until(self, since_s: float) -> float:
        """Return the seconds from ``since_s`` until the last late event came, 0 if none did."""
        late = [a.at_s for a in list(self.arrivals) if a.at_s > since_s and a.delay_s > LATE_S]
        return max(late, default=since_s) - since_s

    def close(self) -> None:
        """End it."""
        self._client.disconnect()
        self._client.loop_stop()


@dataclass(frozen=True, slots=True)
class Tally:
    """What a run's arrivals amount to.

    lost      events sent that never came
    twice     copies after the first
    changed   copies that differ from the first
    disorder  events whose first copy came after that of a later one of the same device
    """

    sent: int
    lost: int
    twice: int
    changed: int
    disorder: int


def tally(sent: dict[str, int], arrivals: list[Arrival]) -> Tally:
    """Return what became of the events; ``sent``: device id -> how many, numbered from 1."""
    first: dict[tuple[str, int], Arrival] = {}
    newest: dict[str, int] = {}
    twice = changed = disorder = 0
    for arrival in arrivals:
        key = arrival.device, arrival.seq
        if (before := first.setdefault(key, arrival)) is not arrival:
            twice += 1
            changed += before.payload != arrival.payload or before.id != arrival.id
        else:
            disorder += arrival.seq < newest.get(arrival.device, 0)
            newest[arrival.device] = max(arrival.seq, newest.get(arrival.device, 0))
    total = sum(sent.values())
    came = sum(1 for device, seq in first if seq <= sent.get(device, 0))
    return Tally(total, total - came, twice, changed, disorder)
