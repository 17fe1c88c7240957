"""The line that `systemctl status` shows: label, frame rate, temperature, broker. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge.frames import Prediction


def seen(last: Prediction | None, scores: bool) -> str:
    """Return what is seen: the newest prediction's label, unless the newest frame had no scores."""
    if not scores:
        return "no scores"
    return f"{last.label} {last.score:.2f}" if last and last.label else "nothing certain"


def line(figures: Mapping[str, Any], seen: str, camera: str, broker: bool) -> str:
    """Return the line.

    figures  those of telemetry
    camera   its state
    broker   whether it is there
    """
    stages, celsius = figures["stages_ms"], figures["temperature_celsius"]
    if camera != "online" and seen != "paused":
        seen = f"camera {camera}"
    return (
        f"{seen} · {figures['fps']:.1f} fps"
        + (f" · p99 {stages['pipeline']['p99']:.1f} ms" if stages else "")
        + (f" · {celsius:.0f} °C" if celsius is not None else "")
        + f" · broker {'up' if broker else 'away'}"
    )
