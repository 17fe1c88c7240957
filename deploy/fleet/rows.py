"""MQTT messages -> rows of the store, or the reason why they are none. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from edge.config.device import NAME
from edge.contract.payloads import Evidence, Moment
from edge.messages import Incoming
from edge.text import escaped

KEPT_BYTES: Final = 4096
"""Of a payload that is set aside."""
TOPIC_CHARACTERS: Final = 200
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Label = Annotated[str, Meta(max_length=256)]


class _Event(msgspec.Struct, frozen=True):
    """As `edge.contract.Event`, with types that a later version may add, and bounded texts."""

    seq: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    ts: Moment
    id: Name
    type: Name
    before: Label | None = None
    after: Label | None = None
    evidence: Evidence = {}


@dataclass(frozen=True, slots=True)
class Event:
    """A row of `event`. at_s: by the device's clock; evidence: JSON."""

    device: str
    id: str
    type: str
    before: str | None
    after: str | None
    evidence: str
    seq: int
    at_s: float
    incoming: Incoming


@dataclass(frozen=True, slots=True)
class Presence:
    """A row of `availability`. online: None where the device has been purged."""

    device: str
    online: bool | None


@dataclass(frozen=True, slots=True)
class Aside:
    """A row of `set_aside`: a message that is no event."""

    digest: bytes
    topic: str
    reason: str
    payload: bytes


Row = Event | Presence | Aside
_decoder: Final = msgspec.json.Decoder(_Event)
AVAILABILITY: Final = {b"online": True, b"offline": False, b"": None}


def row(incoming: Incoming) -> Row:
    """Return what a message becomes; its topic is BASE/DEVICE/KIND."""
    device, _, kind = incoming.topic.rpartition("/")
    device = device.rpartition("/")[2]
    if not NAME.fullmatch(device):
        return aside(incoming, "the topic has no device id")
    if incoming.cut_bytes:
        return aside(incoming, f"{len(incoming.payload) + incoming.cut_bytes} bytes are too long")
    if kind == "availability":
        if incoming.payload not in AVAILABILITY:
            return aside(incoming, "neither online nor offline")
        return Presence(device, AVAILABILITY[incoming.payload])
    try:
        event = _decoder.decode(incoming.payload)
    except (msgspec.DecodeError, RecursionError, ValueError) as exc:
        return aside(incoming, str(exc))
    evidence = msgspec.json.encode(event.evidence).decode()
    return Event(
        *(device, event.id, event.type, event.before, event.after, evidence),
        *(event.seq, event.ts, incoming),
    )


def aside(incoming: Incoming, reason: str) -> Aside:
    """Return a message as one that is set aside."""
    topic = escaped(incoming.topic, TOPIC_CHARACTERS)
    digest = hashlib.sha256(incoming.topic.encode() + b"\0" + incoming.payload).digest()
    return Aside(digest, topic, escaped(reason, 200), incoming.payload[:KEPT_BYTES])
