"""What Home Assistant is told of this device, so that its entities appear by themselves.

One retained message announces the whole device. Templates read the JSON of ``state`` and
``telemetry``; a field that is missing or null becomes ``unknown``. Pure.
Source: Home Assistant, MQTT integration, device discovery; entity and sensor device classes.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from edge.contract import FEW_LABELS
from edge.messages import Message

NONE: Final = "None"
"""What Home Assistant takes for ``unknown``."""
THROTTLED_NOW: Final = 0xF
"""get_throttled: under-voltage, frequency capped, throttled, soft temperature limit, now."""
EXPIRE_AFTER: Final = 3
"""Intervals without telemetry after which its entities are unavailable."""
EXPIRE_MIN_S: Final = 30
CELSIUS: Final = "°C"
FEW_BYTES: Final = 6_000
"""Labels get an entity each and are listed where they are few and, in all the places where they
appear, no longer than this; else the announcement would have hundreds of kilobytes."""


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
) -> Message:
    """Return the retained announcement.

    prefix     where Home Assistant looks
    base       what this device's topics begin with
    labels     a few get an entity each; of many only the label itself is one
    snapshots  whether there is a picture to show
    """
    key = object_id(device)
    few = labels if len(labels) <= FEW_LABELS and sum(map(_size, labels)) <= FEW_BYTES else ()
    listed = {"device_class": "enum", "options": list(few)} if few else {}
    found: dict[str, dict[str, Any]] = {
        "label": {
            "platform": "sensor",
            "name": "Label",
            **listed,
            "state_topic": f"{base}/state",
            "value_template": "{{ value_json.label | default(none, true) }}",
            "icon": "mdi:shape",
        },
        "score": {
            "platform": "sensor",
            "name": "Score",
            "unit_of_measurement": "%",
            "suggested_display_precision": 0,
            "state_class": "measurement",
            "state_topic": f"{base}/state",
            "value_template": "{{ (value_json.score | default(0) * 100) | round(1) }}",
        },
    }
    for number, label in enumerate(few):
        found[f"class_{number}"] = {
            "platform": "binary_sensor",
            "name": label,
            "state_topic": f"{base}/state",
            "value_template": f"{{{{ 'ON' if value_json.label == {quoted(label)} else 'OFF' }}}}",
        }
    found |= _telemetry(base, max(EXPIRE_MIN_S, round(EXPIRE_AFTER * telemetry_interval_s)))
    found["pause"] = {
        "platform": "switch",
        "name": "Pause",
        "icon": "mdi:pause",
        "entity_category": "config",
        "state_topic": f"{base}/state",
        "value_template": "{{ 'ON' if value_json.paused | default(false) else 'OFF' }}",
        "command_topic": f"{base}/request/pause",
        "payload_on": '{"paused": true}',
        "payload_off": '{"paused": false}',
        "state_on": "ON",
        "state_off": "OFF",
    }
    if snapshots:
        found["snapshot"] = {
            "platform": "image",
            "name": "Snapshot",
            "image_topic": f"{base}/snapshot",
            "content_type": "image/jpeg",
        }
        found["take_snapshot"] = {
            "platform": "button",
            "name": "Take snapshot",
            "icon": "mdi:camera",
            "command_topic": f"{base}/request/snapshot",
            "payload_press": "{}",
        }
    for name, component in found.items():
        component["unique_id"] = f"{key}_{name}"
    body = {
        "device": {
            "identifiers": [key],
            "name": device,
            "manufacturer": "edge",
            "model": model,
            "sw_version": version,
        },
        "origin": {"name": "edge", "sw_version": version},
        "availability_topic": f"{base}/availability",
        "payload_available": "online",
        "payload_not_available": "offline",
        "qos": 1,
        "components": found,
    }
    return Message(topic(prefix, device), msgspec.json.encode(body), 1, True)


def remove(prefix: str, device: str) -> Message:
    """Return the message that takes the announcement back."""
    return Message(topic(prefix, device), b"", 1, True)


def topic(prefix: str, device: str) -> str:
    """Return where a device is announced."""
    return f"{prefix}/device/{object_id(device)}/config"


def object_id(device: str) -> str:
    """Return a name of letters, digits, ``_`` and ``-``; another for every device.

    A dot becomes ``_2E``, and an underline that could be mistaken for such a code ``_5F``.
    """
    return re.sub(r"_(?=2E|5F)|\.", lambda found: "_2E" if found[0] == "." else "_5F", device)


def quoted(text: str) -> str:
    """Return ``text`` as a string of a template that neither ends it nor begins another."""
    plain = (c if c.isascii() and (c.isalnum() or c in " _-") else f"\\U{ord(c):08x}" for c in text)
    return f"'{''.join(plain)}'"


def _size(label: str) -> int:
    """Return the bytes that a label takes in the announcement."""
    return len(quoted(label)) + 2 * len(label.encode())


def _telemetry(base: str, expire_s: int) -> dict[str, dict[str, Any]]:
    """Return the entities that read telemetry."""

    def read(field: str) -> str:
        return f"{{{{ value_json.{field} | default({NONE.lower()}) }}}}"

    def sensor(name: str, template: str, **more: Any) -> dict[str, Any]:
        return {
            "platform": "sensor",
            "name": name,
            "state_class": "measurement",
            "entity_category": "diagnostic",
            "state_topic": f"{base}/telemetry",
            "expire_after": expire_s,
            "value_template": template,
            **more,
        }

    def problem(name: str, template: str) -> dict[str, Any]:
        return {
            "platform": "binary_sensor",
            "name": name,
            "device_class": "problem",
            "entity_category": "diagnostic",
            "state_topic": f"{base}/telemetry",
            "expire_after": expire_s,
            "value_template": template,
        }

    p99 = "{{ ((value_json.stages_ms | default({})).latency | default({})).p99 | default(none) }}"
    bits = "value_json.throttled_bits | default(none)"
    return {
        "fps": sensor("Frame rate", read("fps"), unit_of_measurement="fps", icon="mdi:speedometer"),
        "latency_p99": sensor(
            "Latency p99", p99, unit_of_measurement="ms", device_class="duration"
        ),
        "temperature": sensor(
            "Temperature",
            read("temperature_celsius"),
            unit_of_measurement=CELSIUS,
            device_class="temperature",
            suggested_display_precision=1,
        ),
        "memory": sensor(
            "Memory",
            read("pss_bytes"),
            unit_of_measurement="B",
            device_class="data_size",
            suggested_unit_of_measurement="MB",
            suggested_display_precision=0,
        ),
        "throttled": problem(
            "Throttled",
            f"{{% set bits = {bits} %}}{{{{ none if bits is none else"
            f" 'ON' if bits | int(0) | bitwise_and({THROTTLED_NOW}) else 'OFF' }}}}",
        ),
        "camera": problem(
            "Camera", "{{ 'ON' if value_json.camera_problem | default(false) else 'OFF' }}"
        ),
    }


def status_topic(prefix: str) -> str:
    """Return where Home Assistant says that it has started."""
    return f"{prefix}/status"
