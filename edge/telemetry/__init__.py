"""Figures of a run: latency.py of each stage, health.py of the machine,
throttling.py when the firmware's throttling begins and ends. Knows no MQTT.
"""

from edge.telemetry.health import Firmware, HealthReader, Thermometer, process_age_s
from edge.telemetry.latency import LatencyRing, Stages
from edge.telemetry.throttling import Throttled, Throttling

__all__ = [
    "Firmware",
    "HealthReader",
    "LatencyRing",
    "Stages",
    "Thermometer",
    "Throttled",
    "Throttling",
    "process_age_s",
]
