"""Figures of a run: latency.py of each stage, health.py of the machine. Knows no MQTT."""

from edge.telemetry.health import HealthReader, process_age_s
from edge.telemetry.latency import LatencyRing, Stages

__all__ = ["HealthReader", "LatencyRing", "Stages", "process_age_s"]
