"""Metrics of all devices, from MQTT, for Prometheus: docs/consumers.md.

    python -m deploy.fleet.exporter --config FILE [--listen 127.0.0.1:9464] [--devices 1000]

The names are those of one device's `/metrics`, with one more label, ``device``. Only this file
imports prometheus-client, whose threads answer; one lock keeps them and paho's thread apart.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from deploy.fleet import program
from deploy.fleet.devices import KINDS, Devices
from edge import config
from edge.contract.metrics import Family, Rows, counter, counters, gauge
from edge.errors import ConfigError, PublishError
from edge.messages import Incoming
from edge.mqtt import subscribe

log = logging.getLogger(__name__)
ADDRESS: Final = re.compile(r"\[?([0-9A-Za-z.:_-]*?)\]?:([0-9]{1,5})\Z")
CONNECT_S: Final = 20.0
"""Longest wait for the first connection."""
DAY_S: Final = 86_400
DEVICES_MAX: Final = 10_000
DAYS_MAX: Final = 365
FAMILIES: Final = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}


class Exporter:
    """Collects at each scrape what the devices have said."""

    def __init__(self, devices: Devices) -> None:
        self._devices, self._lock = devices, threading.Lock()
        self._connected, self._fault = False, "not connected yet"
        self._first: list[str] = []
        self._answered = threading.Event()

    def begun(self) -> str:
        """Wait for the first answer of the broker; return its fault, empty without one."""
        self._answered.wait(CONNECT_S)
        return self._first[0] if self._first else f"no answer in {CONNECT_S:g} s"

    def message(self, incoming: Incoming) -> None:
        """Take a message; called on paho's thread."""
        with self._lock:
            self._devices.take(incoming, time.monotonic(), time.time())

    def connection(self, fault: str) -> None:
        """Note the state of the connection; called on paho's thread."""
        with self._lock:
            if not fault:
                self._devices.begin(time.monotonic())
            if fault != self._fault:
                log.warning("broker: %s", fault or "connected")
            self._connected, self._fault = not fault, fault
            self._first = self._first or [fault]
        self._answered.set()

    def describe(self) -> Iterable[Any]:
        """Return nothing: names are not collected before the first scrape."""
        return ()

    def collect(self) -> Iterator[Any]:
        """Yield every family. Without a broker nothing is known of any device."""
        with self._lock:
            families = list(self._own())
            if self._connected:
                families += self._devices.families(time.monotonic())
        for one in families:
            made = FAMILIES[one.kind](one.name, one.text, labels=one.labels)
            for values, value in one.rows.items():
                made.add_metric(values, value)
            yield made

    def _own(self) -> Iterator[Family]:
        devices = self._devices
        connected = "1: the exporter reads from the broker."
        yield gauge("edge_exporter_connected", connected, float(self._connected))
        yield gauge("edge_exporter_devices", "Devices that are known.", float(len(devices)))
        yield counter("edge_exporter_messages", "Messages read.", devices.messages_total)
        ignored: Rows = {(reason,): float(count) for reason, count in devices.ignored.items()}
        text = "Messages, and rows of labels, that were left out."
        yield counters("edge_exporter_ignored", text, ("reason",), ignored)


def parser() -> program.Parser:
    """Return the parser of the command line."""
    parser = program.Parser("edge-fleet-exporter", "metrics of all devices, for Prometheus")
    parser.add_argument("--listen", default="127.0.0.1:9464", metavar="HOST:PORT")
    parser.add_argument("--devices", type=int, default=1000, help="most devices; others: ignored")
    parser.add_argument(
        "--days", type=int, default=7, help="without a sign of life: then a device is forgotten"
    )
    return parser


def run(args: argparse.Namespace, stop: threading.Event) -> None:
    """Answer scrapes until ``stop`` is set. Raises EdgeError."""
    program.within(args, devices=DEVICES_MAX, days=DAYS_MAX)
    match = ADDRESS.match(args.listen)
    if match is None or int(match[2]) > 65_535:
        raise ConfigError(
            "not an address", where="--listen", expected="HOST:PORT", got=args.listen[:80]
        )
    mqtt = config.load(args.config).mqtt
    exporter = Exporter(Devices(args.devices, args.days * DAY_S))
    registry = prometheus_client.CollectorRegistry()
    registry.register(exporter)
    prometheus_client.ProcessCollector(registry=registry)
    topics = [f"{mqtt.base_topic}/+/{kind}" for kind in ("availability", *KINDS)]
    end = subscribe(config.broker(mqtt), topics, exporter.message, exporter.connection)
    try:
        if fault := exporter.begun():
            raise PublishError(fault, where=config.broker(mqtt).address)
        server = serve(args.listen, match[1], int(match[2]), registry)
        stop.wait()
        server.shutdown()
        server.server_close()
    finally:
        end()


def serve(listen: str, host: str, port: int, registry: Any) -> Any:
    """Answer on an address, on threads of the library's own. Raises PublishError."""
    try:
        server, _ = prometheus_client.start_http_server(port, host, registry)
    except OSError as exc:
        what = f"cannot listen: {exc.strerror or exc}"
        raise PublishError(what, where=listen, hint="choose another --listen") from exc
    log.info("http://%s/metrics", listen)
    return server


if __name__ == "__main__":
    sys.exit(program.main(parser(), run))
