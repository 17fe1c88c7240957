"""`/metrics`: telemetry, state and info for Prometheus, and the web process's own figures.

What a daemon's messages become is in `edge/contract/metrics.py`, which the fleet's exporter shares.
Rule: while the daemon is away or silent its figures are left out, not repeated; ``edge_up`` is 0.
Only this file imports prometheus-client, at the first scrape. docs/web.md lists the names.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from edge.contract import metrics
from edge.contract.metrics import Family, Rows, counter, counters, gauge
from edge.web.device import Device
from edge.web.guard import Activity
from edge.web.predict import Predict

PARTS: Final = {"telemetry": metrics.telemetry, "state": metrics.state, "info": metrics.info}


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
        newest = self._device.newest
        daemon = newest.daemon(time.monotonic())
        up = daemon["connected"] and not daemon["silent"]
        yield family(gauge("edge_up", "1: the daemon is connected and speaks.", float(up)))
        for topic, families in PARTS.items() if up else ():
            yield from map(family, families(_table(newest.said(topic))))
        yield from map(family, self._own())

    def _own(self) -> Iterator[Family]:
        live = self._device.live
        yield gauge("edge_web_live_readers", "Readers of server-sent events.", float(len(live)))
        dropped = "Readers that were dropped because they did not read."
        yield counter("edge_web_live_readers_dropped", dropped, live.dropped_total)
        answers: Rows = {
            (method, str(status)): count
            for (method, status), count in self._activity.answers.items()
        }
        yield counters("edge_web_requests", "Requests.", ("method", "status"), answers)
        pictures: Rows = {(key,): count for key, count in self._predict.pictures.items()}
        text = "Pictures of /api/predict; refused requests count once."
        yield counters("edge_web_pictures", text, ("outcome",), pictures)


def family(one: Family) -> Any:
    """Return a family as prometheus-client has it."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    kinds = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}
    made = kinds[one.kind](one.name, one.text, labels=one.labels)
    for values, value in one.rows.items():
        made.add_metric(values, value)
    return made


def _table(raw: msgspec.Raw | None) -> dict[str, Any]:
    try:
        return _object(msgspec.json.decode(raw)) if raw is not None else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
