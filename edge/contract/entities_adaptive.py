"""The entities of a device that adapts: its motion gate, its governor. Pure."""

from __future__ import annotations

from typing import Final

from edge.contract.entities import TELEMETRY, Entity, Options

_PERCENT: Final[Options] = {
    "entity_category": "diagnostic",
    "state_class": "measurement",
    "unit_of_measurement": "%",
    "suggested_display_precision": 0,
}

MOTION: Final = (
    Entity(
        "skipped",
        "sensor",
        "Frames without motion",
        {
            **_PERCENT,
            "state_topic": TELEMETRY,
            "value_template": "{% set share = (value_json.motion | default({})).skipped_share"
            " | default(none) %}"
            "{{ none if share is none else (share * 100) | round(1) }}",
            "icon": "mdi:motion-sensor-off",
        },
    ),
)
"""Of a device with the motion gate."""

GOVERNOR: Final = (
    Entity(
        "frames_share",
        "sensor",
        "Frames classified",
        {
            **_PERCENT,
            "state_topic": TELEMETRY,
            "value_template": "{% set share = (value_json.governor | default({})).frames_share"
            " | default(none) %}"
            "{{ none if share is none else (share * 100) | round(1) }}",
            "icon": "mdi:speedometer-slow",
        },
    ),
    Entity(
        "rate_lowered",
        "binary_sensor",
        "Frame rate lowered",
        {
            "entity_category": "diagnostic",
            "device_class": "problem",
            "state_topic": TELEMETRY,
            "value_template": "{% set governor = value_json.governor | default(none) %}"
            "{{ none if governor is none else 'ON' if governor.reason else 'OFF' }}",
        },
    ),
)
"""Of a device with a limit in [adaptive]."""
