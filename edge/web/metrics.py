"""`/metrics`: telemetry, state and info for Prometheus, and the web process's own figures.

Names by Prometheus's conventions: base units (seconds, bytes, celsius), ``_total`` on counters.
Rule: while the daemon is away or silent its figures are left out, not repeated; ``edge_up`` is 0.
Only this file imports prometheus-client, at the first scrape. docs/web.md lists the names.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from edge.web.device import Device
from edge.web.guard import Activity
from edge.web.predict import Predict

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


class Metrics:
    """Collects at each scrape."""

    def __init__(self, device: Device, predict: Predict, activity: Activity) -> None:
        self._device, self._predict, self._activity = device, predict, activity
        self._registry: Any = None

    def text(self) -> tuple[bytes, str]:
        """Return the metrics and their content type."""
        import prometheus_client as prometheus

        if self._registry is None:
            self._registry = prometheus.CollectorRegistry()
            self._registry.register(self)
            prometheus.ProcessCollector(registry=self._registry)
        return prometheus.generate_latest(self._registry), prometheus.CONTENT_TYPE_LATEST

    def describe(self) -> Iterable[Any]:
        """Return nothing: names are not collected before the first scrape."""
        return ()

    def collect(self) -> Iterator[Any]:
        """Yield every family."""
        newest, now_s = self._device.newest, time.monotonic()
        daemon = newest.daemon(now_s)
        up = daemon["connected"] and not daemon["silent"]
        yield _gauge("edge_up", "1: the daemon is connected and speaks.", float(up))
        if up:
            yield from _telemetry(_table(newest.said("telemetry")))
            yield from _state(_table(newest.said("state")))
            yield from _info(_table(newest.said("info")))
        yield from self._own()

    def _own(self) -> Iterator[Any]:
        live = self._device.live
        yield _gauge("edge_web_live_readers", "Readers of server-sent events.", float(len(live)))
        dropped = "Readers that were dropped because they did not read."
        yield _counter("edge_web_live_readers_dropped", dropped, live.dropped_total)
        answers: Rows = {
            (method, str(status)): count
            for (method, status), count in self._activity.answers.items()
        }
        yield _counters("edge_web_requests", "Requests.", ("method", "status"), answers)
        pictures: Rows = {(key,): count for key, count in self._predict.pictures.items()}
        text = "Pictures of /api/predict; refused requests count once."
        yield _counters("edge_web_pictures", text, ("outcome",), pictures)


def _telemetry(figures: dict[str, Any]) -> Iterator[Any]:
    for field, (name, text) in GAUGES.items():
        if (value := _number(figures.get(field))) is not None:
            yield _gauge(name, text, value)
    for field, (name, text) in COUNTERS.items():
        if (value := _number(figures.get(field))) is not None:
            yield _counter(name, text, value)
    rows: Rows = {
        (stage, quantile): value / 1000
        for stage, times in _dict(figures.get("stages_ms")).items()
        for key, quantile in QUANTILES.items()
        if (value := _number(_dict(times).get(key))) is not None
    }
    text = "Time of a stage, percentiles over the last interval."
    yield _gauges("edge_stage_seconds", text, ("stage", "quantile"), rows)
    skipped = _by_name(_dict(figures.get("plugs")).get("skipped_total"))
    yield _counters("edge_frames_skipped", "Frames not classified.", ("reason",), skipped)
    for part, collect in (("drift", _drift), ("shadow", _shadow), ("cases", _cases)):
        if part in figures:  # it is configured
            yield from collect(_dict(figures[part]))


def _drift(drift: dict[str, Any]) -> Iterator[Any]:
    psi = "Population stability index of the window, against the taught range."
    yield _gauges("edge_drift_psi", psi, ("figure",), _by_name(drift.get("psi")))
    text = "1: pictures or scores are not as they were taught."
    yield _gauge("edge_drifting", text, float(drift.get("since_s") is not None))


def _shadow(shadow: dict[str, Any]) -> Iterator[Any]:
    shares = {span: _dict(shadow.get(span)).get("agreement") for span in ("hour", "day")}
    text = "Frames on which shadow and model have the same best label."
    yield _gauges("edge_shadow_agreement_ratio", text, ("span",), _by_name(shares))
    if (share := _number(shadow.get("cpu_share"))) is not None:
        yield _gauge("edge_shadow_cpu_cores", "Processor time of the shadow.", share)
    if (frames := _number(shadow.get("frames_total"))) is not None:
        yield _counter("edge_shadow_frames", "Frames that the shadow has classified.", frames)


def _cases(cases: dict[str, Any]) -> Iterator[Any]:
    there = {state: cases.get(state) for state in ("unsorted", "sorted")}
    yield _gauges("edge_cases", "Pictures that were kept.", ("state",), _by_name(there))
    if (size := _number(cases.get("bytes"))) is not None:
        yield _gauge("edge_cases_bytes", "Size of all of them.", size)
    kept = _by_name(cases.get("kept_total"))
    yield _counters("edge_cases_kept", "Pictures kept since the start.", ("reason",), kept)


def _state(state: dict[str, Any]) -> Iterator[Any]:
    scores = _by_name(state.get("scores"))
    yield _gauges("edge_score_ratio", "Smoothed score of a label.", ("label",), scores)
    label = state.get("label")
    if label is not None:
        yield _gauges("edge_label", "1: the label at present.", ("label",), {(str(label),): 1.0})
    yield _gauge("edge_paused", "1: nothing is classified.", float(state.get("paused") is True))


def _info(info: dict[str, Any]) -> Iterator[Any]:
    model = _dict(info.get("model"))
    rows = {
        "device": info.get("device"),
        "version": info.get("version"),
        "model": model.get("name"),
        "model_version": model.get("version"),
        "sha256": str(model.get("sha256"))[:16],
    }
    values = tuple(map(str, rows.values()))
    yield _gauges("edge_info", "What runs.", tuple(rows), {values: 1.0})


def _gauges(name: str, text: str, labels: tuple[str, ...], rows: Rows) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in rows.items():
        family.add_metric(values, value)
    return family


def _counters(name: str, text: str, labels: tuple[str, ...], rows: Rows) -> Any:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in rows.items():
        family.add_metric(values, value)
    return family


def _gauge(name: str, text: str, value: float) -> Any:
    return _gauges(name, text, (), {(): value})


def _counter(name: str, text: str, value: float) -> Any:
    return _counters(name, text, (), {(): value})


def _table(raw: msgspec.Raw | None) -> dict[str, Any]:
    try:
        return _dict(msgspec.json.decode(raw)) if raw is not None else {}
    except (msgspec.DecodeError, RecursionError):
        return {}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _by_name(table: Any) -> Rows:
    return {(k,): v for k, value in _dict(table).items() if (v := _number(value)) is not None}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, bool | int | float) else None
