"""Metrics of a device, from its telemetry, state and info: one table for every exporter.

Names by Prometheus's conventions: base units (seconds, bytes, celsius), ``_total`` on counters.
`edge/web/metrics.py` offers them for one device, `deploy/fleet/exporter.py` for many, with one more
label. docs/web.md lists the names. Pure; of any payload, what is no finite number is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

GAUGES: Final = {
    "fps": ("edge_frame_rate_hertz", "Frames classified a second, over the last interval."),
    "cpu_share": ("edge_cpu_cores", "Processor time of the daemon, as a share of one core."),
    "rss_bytes": ("edge_resident_memory_bytes", "Memory of the daemon, RSS."),
    "pss_bytes": ("edge_proportional_memory_bytes", "Memory of the daemon, PSS."),
    "temperature_celsius": ("edge_temperature_celsius", "Temperature of the processor."),
    "cpu_clock_hz": ("edge_cpu_clock_hertz", "Clock of the processor."),
    "throttled_bits": ("edge_throttled_bits", "The firmware's get_throttled."),
    "load_1m": ("edge_load1", "Load of the machine over a minute."),
    "uptime_s": ("edge_uptime_seconds", "Since the daemon's start."),
    "spooled": ("edge_spooled_events", "Events that wait for the broker."),
    "camera_problem": ("edge_camera_problem", "1: no frame came in the last interval."),
}
COUNTERS: Final = {
    "frames_total": ("edge_frames", "Frames since the daemon's start."),
    "dropped_total": ("edge_frames_dropped", "Frames that were replaced before they were read."),
    "corrupt_total": ("edge_frames_corrupt", "Frames that could not be decoded."),
    "unsent_total": ("edge_messages_unsent", "Messages dropped undelivered."),
    "spool_failures_total": ("edge_spool_failures", "Events that the disk did not take."),
    "reconnects_total": ("edge_broker_reconnects", "Connections to the broker after the first."),
    "requests_total": ("edge_requests", "Requests to the daemon."),
    "reopens_total": ("edge_camera_reopens", "Tries to bring the camera back."),
    "invalid_scores_total": ("edge_scores_invalid", "Frames without probabilities."),
}
"""Field of telemetry -> name, text. prometheus-client adds ``_total`` to counters."""
Rows = dict[tuple[str, ...], float]
"""Values of labels -> value."""
QUANTILES: Final = {"p50": "0.5", "p90": "0.9", "p99": "0.99", "max": "1"}


class Family(NamedTuple):
    """All samples of one metric. labels: names; those of ``rows`` are their values."""

    kind: Literal["gauge", "counter"]
    name: str
    text: str
    labels: tuple[str, ...]
    rows: Rows


def telemetry(figures: dict[str, Any]) -> Iterator[Family]:
    """Yield the families of a decoded `telemetry` payload."""
    for field, (name, text) in GAUGES.items():
        if (value := _number(figures.get(field))) is not None:
            yield gauge(name, text, value)
    for field, (name, text) in COUNTERS.items():
        if (value := _number(figures.get(field))) is not None:
            yield counter(name, text, value)
    rows: Rows = {
        (stage, quantile): value / 1000
        for stage, times in _dict(figures.get("stages_ms")).items()
        for key, quantile in QUANTILES.items()
        if (value := _number(_dict(times).get(key))) is not None
    }
    text = "Time of a stage, percentiles over the last interval."
    yield gauges("edge_stage_seconds", text, ("stage", "quantile"), rows)
    skipped = _by_name(_dict(figures.get("plugs")).get("skipped_total"))
    yield counters("edge_frames_skipped", "Frames not classified.", ("reason",), skipped)
    for part, collect in (("drift", _drift), ("shadow", _shadow), ("cases", _cases)):
        if part in figures:  # it is configured
            yield from collect(_dict(figures[part]))


def _drift(drift: dict[str, Any]) -> Iterator[Family]:
    psi = "Population stability index of the window, against the taught range."
    yield gauges("edge_drift_psi", psi, ("figure",), _by_name(drift.get("psi")))
    text = "1: pictures or scores are not as they were taught."
    yield gauge("edge_drifting", text, float(drift.get("since_s") is not None))


def _shadow(shadow: dict[str, Any]) -> Iterator[Family]:
    shares = {span: _dict(shadow.get(span)).get("agreement") for span in ("hour", "day")}
    text = "Frames on which shadow and model have the same best label."
    yield gauges("edge_shadow_agreement_ratio", text, ("span",), _by_name(shares))
    if (share := _number(shadow.get("cpu_share"))) is not None:
        yield gauge("edge_shadow_cpu_cores", "Processor time of the shadow.", share)
    if (frames := _number(shadow.get("frames_total"))) is not None:
        yield counter("edge_shadow_frames", "Frames that the shadow has classified.", frames)


def _cases(cases: dict[str, Any]) -> Iterator[Family]:
    there = {state: cases.get(state) for state in ("unsorted", "sorted")}
    yield gauges("edge_cases", "Pictures that were kept.", ("state",), _by_name(there))
    if (size := _number(cases.get("bytes"))) is not None:
        yield gauge("edge_cases_bytes", "Size of all of them.", size)
    kept = _by_name(cases.get("kept_total"))
    yield counters("edge_cases_kept", "Pictures kept since the start.", ("reason",), kept)


def state(state: dict[str, Any]) -> Iterator[Family]:
    """Yield the families of a decoded `state` payload."""
    scores = _by_name(state.get("scores"))
    yield gauges("edge_score_ratio", "Smoothed score of a label.", ("label",), scores)
    label = state.get("label")
    if label is not None:
        yield gauges("edge_label", "1: the label at present.", ("label",), {(str(label),): 1.0})
    yield gauge("edge_paused", "1: nothing is classified.", float(state.get("paused") is True))


def info(info: dict[str, Any]) -> Iterator[Family]:
    """Yield the family of a decoded `info` payload."""
    model = _dict(info.get("model"))
    rows = {
        "device": info.get("device"),
        "version": info.get("version"),
        "model": model.get("name"),
        "model_version": model.get("version"),
        "sha256": str(model.get("sha256"))[:16],
    }
    values = tuple(map(str, rows.values()))
    yield gauges("edge_info", "What runs.", tuple(rows), {values: 1.0})


def gauges(name: str, text: str, labels: tuple[str, ...], rows: Rows) -> Family:
    """Return a family of gauges."""
    return Family("gauge", name, text, labels, rows)


def counters(name: str, text: str, labels: tuple[str, ...], rows: Rows) -> Family:
    """Return a family of counters."""
    return Family("counter", name, text, labels, rows)


def gauge(name: str, text: str, value: float) -> Family:
    """Return a family of one sample."""
    return gauges(name, text, (), {(): value})


def counter(name: str, text: str, value: float) -> Family:
    """Return a family of one sample."""
    return counters(name, text, (), {(): value})


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _by_name(table: Any) -> Rows:
    return {(k,): v for k, value in _dict(table).items() if (v := _number(value)) is not None}


def _number(value: Any) -> float | None:
    if not isinstance(value, bool | int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return number if math.isfinite(number) else None
