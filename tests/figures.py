"""Telemetry of a daemon that does well, with changes."""

from __future__ import annotations

from typing import Any

import msgspec

from edge.contract import Figures, Frames, Health, StageTimes, Totals


def figures(**changes: Any) -> Figures:
    """Return figures; ``changes`` name fields of any of their parts."""
    fields: dict[str, Any] = {
        "interval_s": 10.0, "fps": 29.97, "frames_total": 300, "dropped_total": 1,
        "corrupt_total": 0, "camera_problem": False,
        "stages_ms": {"invoke": StageTimes(9.1, 9.9, 12.0, 30.5)}, "rss_bytes": 90_000_000,
        "pss_bytes": 80_000_000, "cpu_share": 0.41, "temperature_celsius": 51.5,
        "cpu_clock_hz": 1_800_000_000, "throttled_bits": 0x50000, "load_1m": 0.52,
        "uptime_s": 3600.5, "unsent_total": 0, "spooled": 2, "spool_failures_total": 0,
        "reconnects_total": 1, "requests_total": 3, "reopens_total": 2,
        "invalid_scores_total": 4, "second_model_total": 5,
    }  # fmt: skip
    unknown = changes.keys() - fields.keys()
    assert not unknown, unknown
    fields |= changes

    def of(part: type[msgspec.Struct]) -> dict[str, Any]:
        return {name: fields[name] for name in part.__struct_fields__}

    return Figures(Frames(**of(Frames)), Health(**of(Health)), Totals(**of(Totals)))
