"""MQTT packets as bytes: reads incoming ones, computes the length of outgoing ones.

Reads only the fields in use and tolerates the rest: text that MQTT forbids, properties that are
unknown or repeated. The content of a packet is no reason to lose the connection.
Pure; knows no paho. Source: MQTT 5.0 (OASIS, 2019), sections 2.2.2, 3.2.2 and 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge.messages import Incoming, Seconds

RESPONSE_TOPIC: Final = 8
CORRELATION_DATA: Final = 9
SERVER_KEEP_ALIVE: Final = 19
RECEIVE_MAXIMUM: Final = 33
MAXIMUM_QOS: Final = 36
RETAIN_AVAILABLE: Final = 37
MAXIMUM_PACKET_SIZE: Final = 39
WILDCARDS_AVAILABLE: Final = 40
_NUMBERS: Final = {  # property -> bytes of its value
    **dict.fromkeys((1, 23, 25, MAXIMUM_QOS, RETAIN_AVAILABLE, WILDCARDS_AVAILABLE, 41, 42), 1),
    **dict.fromkeys((SERVER_KEEP_ALIVE, RECEIVE_MAXIMUM, 34, 35), 2),
    **dict.fromkeys((2, 17, 24, MAXIMUM_PACKET_SIZE), 4),
}
_TEXTS: Final = frozenset({3, RESPONSE_TOPIC, CORRELATION_DATA, 18, 21, 22, 26, 28, 31})
_PAIR: Final = 38
_SUBSCRIPTION: Final = 11
_PROPERTIES_AT: Final = {2: 2, 4: 3, 5: 3, 6: 3, 7: 3, 9: 2, 11: 2, 14: 1}
"""Type of a packet, except PUBLISH -> where its properties begin."""
PUBACK, PUBREC, PUBCOMP, SUBACK = 4, 5, 7, 9
_PUBACK: Final = frozenset({0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99})
_SUBACK: Final = frozenset({0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2})
CUT_BYTES: Final = 1024
"""Bytes kept of a payload that is too long."""
NAME_BYTES: Final = 1024
"""Longest topic, response topic and correlation data accepted; MQTT allows 65,535."""


@dataclass(frozen=True, slots=True)
class Published:
    """An incoming PUBLISH.

    mid       its packet id, 0 at QoS 0
    incoming  None if unreadable; it is acknowledged all the same, or the broker would repeat it
    """

    qos: int
    mid: int
    incoming: Incoming | None


def published(
    command: int,
    packet: bytes | bytearray,
    length: int,
    *,
    version5: bool,
    payload_max: int,
    came_s: Seconds,
) -> Published:
    """Read a PUBLISH.

    command      its first byte
    packet       the bytes after the remaining length, or the first of them
    length       the remaining length
    payload_max  bytes; of a longer payload only CUT_BYTES are kept
    Raises ValueError if topic or packet id is missing: such a packet cannot be acknowledged.
    """
    qos = command >> 1 & 3
    topic_bytes = int.from_bytes(packet[:2], "big")
    at = 2 + topic_bytes + (2 if qos else 0)
    if qos == 3 or at > len(packet):
        raise ValueError("PUBLISH without a topic or a packet id")
    mid = int.from_bytes(packet[at - 2 : at], "big") if qos else 0
    unreadable = Published(qos, mid, None)
    given: dict[int, bytes] = {}
    try:
        if version5:
            given, at = properties(packet, at)
        topic = bytes(packet[2 : 2 + topic_bytes]).decode()
        answer_to = given.get(RESPONSE_TOPIC, b"").decode()
    except ValueError:
        return unreadable
    correlation = given.get(CORRELATION_DATA, b"")
    if not 0 < topic_bytes <= NAME_BYTES or len(correlation) > NAME_BYTES:
        return unreadable
    size = length - at
    kept = size if size <= payload_max else CUT_BYTES
    payload = bytes(packet[at : at + kept])
    named = len(answer_to) <= NAME_BYTES and answer_to.isprintable()
    incoming = Incoming(
        topic=topic,
        payload=payload,
        retained=bool(command & 1),
        came_s=came_s,
        answer_to=answer_to if named else "",
        correlation=correlation,
        cut_bytes=size - len(payload),
    )
    return Published(qos, mid, incoming)


def without_properties(
    command: int, packet: bytes | bytearray
) -> tuple[bytearray, dict[int, bytes]]:
    """Return a packet of MQTT 5 without its properties, and those. Raises ValueError."""
    at = _PROPERTIES_AT.get(command >> 4)
    if at is None or len(packet) <= at:
        return bytearray(packet), {}
    given, end = properties(packet, at)
    return bytearray(packet[:at]) + b"\0" + packet[end:], given


def acknowledged(kind: int, packet: bytes | bytearray) -> bytearray:
    """Return an acknowledgement of MQTT 5 with reason codes that paho accepts.

    A code that its packet type does not define becomes 0x80, unspecified error, from 0x80 on, and
    success below. mosquitto sends such a code when its ``message_size_limit`` is exceeded. The
    properties of PUBACK, PUBREC and PUBCOMP are not used, may be malformed, and are dropped.
    """
    if kind in (PUBACK, PUBREC, PUBCOMP):
        return bytearray(packet[:2]) + bytearray(_known(code, _PUBACK) for code in packet[2:3])
    if kind == SUBACK:
        plain, _ = without_properties(kind << 4, packet)
        return plain[:3] + bytearray(_known(code, _SUBACK) for code in plain[3:])
    return bytearray(packet)


def _known(code: int, codes: frozenset[int]) -> int:
    return code if code in codes else 0x80 if code >= 0x80 else 0


def properties(packet: bytes | bytearray, at: int) -> tuple[dict[int, bytes], int]:
    """Return the properties that begin at ``at``, each as its bytes, and where they end.

    The first of a repeated one counts. What follows an unknown one is skipped.
    Raises ValueError if their length exceeds the packet.
    """
    length, at = _variable(packet, at)
    end = at + length
    if end > len(packet):
        raise ValueError("properties longer than the packet")
    given: dict[int, bytes] = {}
    while at < end:
        name, at = packet[at], at + 1
        if size := _NUMBERS.get(name):
            begin, at = at, at + size
        elif name in _TEXTS:
            begin, at = _text(packet, at)
        elif name == _PAIR:
            begin, at = _text(packet, _text(packet, at)[1])
        elif name == _SUBSCRIPTION:
            begin, at = at, _variable(packet, at)[1]
        else:
            break
        if at > end:
            break
        if name != _PAIR and name not in given:
            given[name] = bytes(packet[begin:at])
    return given, end


def publish_bytes(topic: str, payload: bytes, qos: int, properties_bytes: int) -> int:
    """Return the length of a whole PUBLISH; ``properties_bytes``: their length field included."""
    remaining = 2 + len(topic.encode()) + (2 if qos else 0) + properties_bytes + len(payload)
    return 1 + max(1, -(-remaining.bit_length() // 7)) + remaining


def _text(packet: bytes | bytearray, at: int) -> tuple[int, int]:
    """Return where a text begins and ends; its length field is at ``at``."""
    begin = at + 2
    return begin, begin + int.from_bytes(packet[at:begin], "big")


def _variable(packet: bytes | bytearray, at: int) -> tuple[int, int]:
    """Return a variable byte integer and where it ends. Raises ValueError."""
    value = 0
    for shift in (0, 7, 14, 21):
        if at >= len(packet):
            break
        value |= (packet[at] & 0x7F) << shift
        at += 1
        if packet[at - 1] < 0x80:
            return value, at
    raise ValueError("a length field without end")
