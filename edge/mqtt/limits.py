"""The limits that a broker names in its CONNACK (MQTT 5), and messages adapted to them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from edge.messages import Message
from edge.mqtt import packets

PACKET_MAX: Final = 268_435_460
"""Bytes of the longest packet that MQTT allows."""
RETAIN_REFUSED: Final = 0x9A
QOS_REFUSED: Final = 0x9B
"""Answers to a CONNECT whose last will the broker does not support (MQTT 5.0, 3.2.2.2)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one connection; those of MQTT itself where the broker names none.

    receive_max  most messages of QoS 1 sent and not yet acknowledged
    packet_max   bytes of a whole packet
    qos_max      highest QoS of a message sent
    retain       whether the broker retains messages
    wildcards    whether subscriptions may have wildcards
    keepalive_s  imposed by the broker; 0: as sent in CONNECT
    """

    receive_max: int = 65_535
    packet_max: int = PACKET_MAX
    qos_max: int = 2
    retain: bool = True
    wildcards: bool = True
    keepalive_s: int = 0

    def adapted(self, message: Message) -> Message:
        """Return ``message`` with at most ``qos_max``, and retained only if the broker retains."""
        qos, retain = min(message.qos, self.qos_max), message.retain and self.retain
        if (qos, retain) == (message.qos, message.retain):
            return message
        return replace(message, qos=qos, retain=retain)

    def notes(self) -> list[str]:
        """Return a line for each feature that this broker lacks."""
        lines = []
        if not self.qos_max:
            lines.append("takes QoS 0 only: events that a lost connection holds are lost")
        if not self.retain:
            lines.append("retains no messages: they are sent again every minute")
        return lines


def limits(given: Mapping[int, bytes]) -> Limits:
    """Return the limits that the properties of a CONNACK name."""

    def number(name: int, default: int) -> int:
        return int.from_bytes(given[name], "big") if name in given else default

    return Limits(
        receive_max=max(1, number(packets.RECEIVE_MAXIMUM, 65_535)),
        packet_max=number(packets.MAXIMUM_PACKET_SIZE, PACKET_MAX) or PACKET_MAX,
        qos_max=number(packets.MAXIMUM_QOS, 2),
        retain=bool(number(packets.RETAIN_AVAILABLE, 1)),
        wildcards=bool(number(packets.WILDCARDS_AVAILABLE, 1)),
        keepalive_s=number(packets.SERVER_KEEP_ALIVE, 0),
    )


def modest(will: Message, code: int) -> Message | None:
    """Return a lesser last will if the broker refuses ``will`` with ``code``, else None."""
    if code == RETAIN_REFUSED and will.retain:
        return replace(will, retain=False)
    if code == QOS_REFUSED and will.qos:
        return replace(will, qos=0)
    return None
