"""The entities that Home Assistant shows of this device, one row each. Pure.

Templates read the JSON of ``state`` and ``telemetry``; a field that is missing or null becomes
``unknown``.
Source: Home Assistant, MQTT integration; entity and sensor device classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from edge.contract import FEW_LABELS

THROTTLED_NOW: Final = 0xF
"""get_throttled: under-voltage, frequency capped, throttled, soft temperature limit, now."""
FEW_BYTES: Final = 6_000
"""Labels get an entity each and are listed where they are few and, in all the places where they
appear, no longer than this; else the announcement would have hundreds of kilobytes."""
STATE: Final = "~/state"
TELEMETRY: Final = "~/telemetry"
"""Topics in the tables; ``~`` is the device's base topic. What reads telemetry expires with it."""

Options = dict[str, str | int | list[str]]


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity of Home Assistant; a room adds its own as rows like these.

    key       names it in the announcement and ends its unique id
    platform  sensor, binary_sensor, switch, image or button
    name      for people
    options   further keys of its platform; those that end in ``_topic`` begin with ``~``
    """

    key: str
    platform: str
    name: str
    options: Options


def _read(field: str) -> str:
    """Return the template that reads one field of telemetry."""
    return f"{{{{ value_json.{field} | default(none) }}}}"


_DIAGNOSTIC: Final[Options] = {"entity_category": "diagnostic", "state_topic": TELEMETRY}
_MEASURED: Final[Options] = {"state_class": "measurement", **_DIAGNOSTIC}
_PROBLEM: Final[Options] = {"device_class": "problem", **_DIAGNOSTIC}

DEVICE: Final = (
    Entity(
        "fps",
        "sensor",
        "Frame rate",
        {
            **_MEASURED,
            "value_template": _read("fps"),
            "unit_of_measurement": "fps",
            "icon": "mdi:speedometer",
        },
    ),
    Entity(
        "latency_p99",
        "sensor",
        "Latency p99",
        {
            **_MEASURED,
            "value_template": "{{ ((value_json.stages_ms | default({})).latency | default({})).p99"
            " | default(none) }}",
            "unit_of_measurement": "ms",
            "device_class": "duration",
        },
    ),
    Entity(
        "temperature",
        "sensor",
        "Temperature",
        {
            **_MEASURED,
            "value_template": _read("temperature_celsius"),
            "unit_of_measurement": "°C",
            "device_class": "temperature",
            "suggested_display_precision": 1,
        },
    ),
    Entity(
        "memory",
        "sensor",
        "Memory",
        {
            **_MEASURED,
            "value_template": _read("pss_bytes"),
            "unit_of_measurement": "B",
            "device_class": "data_size",
            "suggested_unit_of_measurement": "MB",
            "suggested_display_precision": 0,
        },
    ),
    Entity(
        "throttled",
        "binary_sensor",
        "Throttled",
        {
            **_PROBLEM,
            "value_template": "{% set bits = value_json.throttled_bits | default(none) %}"
            "{{ none if bits is none else"
            f" 'ON' if bits | int(0) | bitwise_and({THROTTLED_NOW}) else 'OFF' }}}}",
        },
    ),
    Entity(
        "camera",
        "binary_sensor",
        "Camera",
        {
            **_PROBLEM,
            "value_template": "{{ 'ON' if value_json.camera_problem | default(false) else 'OFF' }}",
        },
    ),
    Entity(
        "pause",
        "switch",
        "Pause",
        {
            "icon": "mdi:pause",
            "entity_category": "config",
            "state_topic": STATE,
            "value_template": "{{ 'ON' if value_json.paused | default(false) else 'OFF' }}",
            "command_topic": "~/request/pause",
            "payload_on": '{"paused": true}',
            "payload_off": '{"paused": false}',
            "state_on": "ON",
            "state_off": "OFF",
        },
    ),
)
"""Of every device."""

DRIFT: Final = (
    Entity(
        "drift",
        "binary_sensor",
        "Drift",
        {
            **_PROBLEM,
            "value_template": "{% set drift = value_json.drift | default(none) %}"
            "{{ none if drift is none or drift.origin == 'learning' else"
            " 'ON' if drift.reason else 'OFF' }}",
        },
    ),
    Entity(
        "drift_reason",
        "sensor",
        "Drift reason",
        {
            **_DIAGNOSTIC,
            "value_template": "{{ (value_json.drift | default({})).reason | default(none, true) }}",
            "icon": "mdi:weather-fog",
        },
    ),
)
"""Of a device that watches for drift."""
SHADOW: Final = (
    Entity(
        "shadow_agreement",
        "sensor",
        "Shadow agreement",
        {
            **_MEASURED,
            "value_template": "{% set shadow = value_json.shadow | default({}) %}"
            "{% set hour = shadow.hour | default(none) %}"
            "{{ none if hour is none or hour.agreement is none"
            " else (hour.agreement * 100) | round(1) }}",
            "unit_of_measurement": "%",
            "icon": "mdi:compare",
        },
    ),
)
"""Of a device with a candidate model beside the one at work."""

SNAPSHOT: Final = (
    Entity(
        "snapshot",
        "image",
        "Snapshot",
        {"image_topic": "~/snapshot", "content_type": "image/jpeg"},
    ),
    Entity(
        "take_snapshot",
        "button",
        "Take snapshot",
        {
            "icon": "mdi:camera",
            "command_topic": "~/request/snapshot",
            "payload_press": "{}",
        },
    ),
)
"""Of a device that publishes pictures."""


def classification(labels: tuple[str, ...], background: tuple[str, ...] = ()) -> Iterator[Entity]:
    """Yield the current label, its score, and whether it is each of a few labels.

    background  labels that mean that nothing is there: values of the label, no entities
    """
    few = labels if len(labels) <= FEW_LABELS and sum(map(_size, labels)) <= FEW_BYTES else ()
    listed: Options = {"device_class": "enum", "options": list(few)} if few else {}
    yield Entity(
        "label",
        "sensor",
        "Label",
        {
            **listed,
            "state_topic": STATE,
            "value_template": "{{ value_json.label | default(none, true) }}",
            "icon": "mdi:shape",
        },
    )
    yield Entity(
        "score",
        "sensor",
        "Score",
        {
            "unit_of_measurement": "%",
            "suggested_display_precision": 0,
            "state_class": "measurement",
            "state_topic": STATE,
            "value_template": "{{ (value_json.score | default(0) * 100) | round(1) }}",
        },
    )
    for number, label in enumerate(few):
        if label in background:
            continue
        template = f"{{{{ 'ON' if value_json.label == {quoted(label)} else 'OFF' }}}}"
        yield Entity(
            f"class_{number}",
            "binary_sensor",
            label,
            {"state_topic": STATE, "value_template": template},
        )


def quoted(text: str) -> str:
    """Return ``text`` as a string literal of a template, which it cannot end."""
    plain = (c if c.isascii() and (c.isalnum() or c in " _-") else f"\\U{ord(c):08x}" for c in text)
    return f"'{''.join(plain)}'"


def _size(label: str) -> int:
    """Return the bytes that a label takes in the announcement."""
    return len(quoted(label)) + 2 * len(label.encode())
