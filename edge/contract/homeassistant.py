"""Announces this device to Home Assistant, so that its entities appear by themselves.

One retained message announces the whole device, with a row of ``entities`` for each entity. Pure.
Source: Home Assistant, MQTT integration, device discovery.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from edge.contract import entities
from edge.contract.entities import Entity, Options
from edge.messages import Message

EXPIRE_AFTER: Final = 3
"""Intervals without telemetry after which its entities are unavailable."""
EXPIRE_MIN_S: Final = 30


def announce(
    *,
    prefix: str,
    base: str,
    device: str,
    version: str,
    labels: tuple[str, ...],
    model: str,
    telemetry_interval_s: float,
    snapshots: bool,
    background: tuple[str, ...] = (),
    more: Iterable[Entity] = (),
    gone: Mapping[str, str] = {},
    page: str = "",
) -> Message:
    """Return the retained announcement.

    prefix     where Home Assistant looks
    base       what this device's topics begin with
    labels     a few get an entity each; of many only the current label is an entity
    snapshots  whether pictures are published
    background labels that mean that nothing is there: no entity
    more       entities of other rooms
    gone       key -> platform of entities that were announced and are no more: an entity that is
               only left out would stay
    page       address of the device's page on the network; empty: none
    """
    key = object_id(device)
    expire_s = max(EXPIRE_MIN_S, round(EXPIRE_AFTER * telemetry_interval_s))
    rows = [*entities.classification(labels, background), *entities.DEVICE]
    if snapshots:
        rows += entities.SNAPSHOT
    rows += more
    body = {
        "device": {
            "identifiers": [key],
            "name": device,
            "manufacturer": "edge",
            "model": model,
            "sw_version": version,
            **({"configuration_url": page} if page else {}),
        },
        "origin": {"name": "edge", "sw_version": version},
        "availability_topic": f"{base}/availability",
        "payload_available": "online",
        "payload_not_available": "offline",
        "qos": 1,
        "components": {
            **{old: {"platform": platform} for old, platform in gone.items()},
            **{one.key: _component(one, f"{key}_{one.key}", base, expire_s) for one in rows},
        },
    }
    return Message(topic(prefix, device), msgspec.json.encode(body), 1, True)


def announced(message: Message) -> dict[str, str]:
    """Return key -> platform of what an announcement holds."""
    components = msgspec.json.decode(message.payload)["components"]
    return {key: component["platform"] for key, component in components.items()}


def remove(prefix: str, device: str) -> Message:
    """Return the message that withdraws the announcement."""
    return Message(topic(prefix, device), b"", 1, True)


def topic(prefix: str, device: str) -> str:
    """Return the topic on which a device is announced."""
    return f"{prefix}/device/{object_id(device)}/config"


def object_id(device: str) -> str:
    """Return the device as letters, digits, ``_`` and ``-``; no two devices get the same.

    A dot becomes ``_2E``, and an underline that could be mistaken for such a code ``_5F``.
    """
    return re.sub(r"_(?=2E|5F)|\.", lambda code: "_2E" if code[0] == "." else "_5F", device)


def status_topic(prefix: str) -> str:
    """Return the topic on which Home Assistant says that it has started."""
    return f"{prefix}/status"


def _component(entity: Entity, unique_id: str, base: str, expire_s: int) -> Options:
    """Return one entity as Home Assistant reads it."""
    component: Options = {"platform": entity.platform, "name": entity.name}
    for option, value in entity.options.items():
        if option.endswith("_topic"):
            component[option] = str(value).replace("~", base, 1)
        else:
            component[option] = value
        if value == entities.TELEMETRY:
            component["expire_after"] = expire_s
    component["unique_id"] = unique_id
    return component
