"""The line that `systemctl status` shows: label, frame rate, temperature, broker. Pure."""

from __future__ import annotations

from edge.contract import Figures, GovernorFigures
from edge.frames import Prediction


def label(last: Prediction | None, has_scores: bool) -> str:
    """Return the newest prediction's label, unless the newest frame had no scores."""
    if not has_scores:
        return "no scores"
    return f"{last.label} {last.score:.2f}" if last and last.label else "uncertain"


def line(figures: Figures, sees: str, camera: str, broker: bool) -> str:
    """Return the line.

    sees    a label, or why there is none
    camera  its state
    broker  whether the connection is up
    """
    frames, celsius = figures.frames, figures.health.temperature_celsius
    pipeline, governor = frames.stages_ms.get("pipeline"), figures.parts.get("governor")
    if camera != "online" and sees != "paused":
        sees = f"camera {camera}"
    governed = ""
    if isinstance(governor, GovernorFigures) and governor.reason:
        governed = f" · classifies {governor.frames_share:.0%}: {governor.reason}"
    return (
        f"{sees} · {frames.fps:.1f} fps"
        + (f" · p99 {pipeline.p99:.1f} ms" if pipeline else "")
        + (f" · {celsius:.0f} °C" if celsius is not None else "")
        + governed
        + f" · broker {'up' if broker else 'away'}"
    )
