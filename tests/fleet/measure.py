"""What a fleet's programs cost: events a second into PostgreSQL, memory and time of the exporter.

    .venv/bin/python -m tests.fleet.measure [--events 100000] [--devices 500]

Prints one line of JSON; what docs/consumers.md states. No test: figures of one machine at one time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from deploy.broker import PrivateBroker, free_port
from deploy.loadtest.engine import cpu_s
from tests.conftest import ROOT, wait_until
from tests.fleet.conftest import Postgres, Program, mqtt

GOLDEN: Final = ROOT / "tests" / "golden"
SCRAPES: Final = 20
NAMES: Final = 50
"""Devices of the events."""


def golden(kind: str) -> dict[str, Any]:
    """Return the contract's golden payload."""
    whole: dict[str, Any] = json.loads((GOLDEN / f"{kind}.json").read_text())
    payload: dict[str, Any] = whole.get("payload", whole)
    return payload


@contextmanager
def publisher(broker: PrivateBroker) -> Iterator[paho.Client]:
    """Return a connected client."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.max_inflight_messages_set(1000)
    client.connect(broker.host, broker.port)
    client.loop_start()
    yield client
    client.disconnect()
    client.loop_stop()


def stored(postgres: Postgres) -> int:
    """Return how many events are in the table."""
    return postgres.number("SELECT count(*) FROM event")


def consumers(amount: int, events: int, folder: Path, postgres: Postgres) -> dict[str, float]:
    """Return how fast so many consumers store what waits in their sessions."""
    postgres.psql("-q", "-c", "DROP SCHEMA public CASCADE", "-c", "CREATE SCHEMA public")
    postgres.psql("-q", "-f", ROOT / "deploy" / "fleet" / "schema.sql")
    with PrivateBroker("allow_anonymous true", "max_queued_messages 0") as broker:
        options = ("--config", mqtt(folder, broker), "--database", postgres.conninfo)

        def begin(name: int) -> Program:
            log = folder / f"{len(list(folder.glob('*.log')))}.log"
            running = Program(log, "consumer", *options, "--name", str(name))
            running.wait_for_log("connected")
            return running

        for name in range(amount):
            begin(name).end()
        body = golden("event")
        with publisher(broker) as client:
            for number in range(events):
                payload = json.dumps(body | {"id": f"0000000a-{number}", "seq": number})
                sent = client.publish(f"edge/device-{number % NAMES}/event", payload, 1)
            sent.wait_for_publish(120)
        broker_s = cpu_s(broker.pid)
        running = [begin(name) for name in range(amount)]
        begun, start = stored(postgres), time.monotonic()
        wait_until(lambda: stored(postgres) == events, longest_s=300, every_s=0.1)
        spent_s = time.monotonic() - start
        used_s = sum(cpu_s(one.process.pid) for one in running)
        broker_s = cpu_s(broker.pid) - broker_s
        assert [one.end() for one in running] == [0] * amount
    return {
        "consumers": amount,
        "events_per_s": round((events - begun) / spent_s),
        "consumer_cpu_ms_per_1000": round(1e6 * used_s / events, 1),
        "broker_cpu_ms_per_1000": round(1e6 * broker_s / events, 1),
    }


def exporter(devices: int, folder: Path) -> dict[str, float]:
    """Return what the exporter needs once every device has said everything."""
    kinds = {kind: golden(kind) for kind in ("info", "state")} | {
        "telemetry": golden("telemetry_parts")
    }
    with PrivateBroker() as broker:
        port = free_port()
        address = f"127.0.0.1:{port}"
        options = ("--config", mqtt(folder, broker), "--listen", address)
        running = Program(folder / "exporter.log", "exporter", *options)
        running.wait_for_log("/metrics")
        empty = rss_bytes(running)
        with publisher(broker) as client:
            before_s = cpu_s(running.process.pid)
            for number in range(devices):
                client.publish(f"edge/device-{number:04}/availability", "online", 1)
                for kind, payload in kinds.items():
                    sent = client.publish(f"edge/device-{number:04}/{kind}", json.dumps(payload), 1)
            sent.wait_for_publish(120)
            up = f"edge_exporter_messages_total {4 * devices}.0"
            text = ""

            def read() -> bool:
                nonlocal text
                with urllib.request.urlopen(f"http://{address}/metrics") as got:
                    text = got.read().decode()
                return up in text

            wait_until(lambda: quiet(running.process.pid), every_s=0.5)
            messages_s = cpu_s(running.process.pid) - before_s
            wait_until(read, every_s=0.5)
            before_s, start = cpu_s(running.process.pid), time.monotonic()
            for _ in range(SCRAPES):
                read()
            took_s, scrapes_s = time.monotonic() - start, cpu_s(running.process.pid) - before_s
        figures = {
            "devices": devices,
            "samples": sum(line[:1] != "#" for line in text.splitlines()),
            "scrape_bytes": len(text),
            "rss_bytes_empty": empty,
            "rss_bytes": rss_bytes(running),
            "message_cpu_ms": round(1000 * messages_s / (4 * devices), 3),
            "scrape_cpu_s": round(scrapes_s / SCRAPES, 3),
            "scrape_s": round(took_s / SCRAPES, 3),
        }
        running.end()
    return figures


def quiet(pid: int) -> bool:
    """Whether a process computes nothing for a second."""
    before_s = cpu_s(pid)
    time.sleep(1)
    return cpu_s(pid) == before_s


def rss_bytes(running: Program) -> int:
    """Return the resident memory of a program. Source: proc(5)."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def main() -> None:
    """Measure; print the figures."""
    parser = argparse.ArgumentParser(description="what a fleet's programs cost")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--devices", type=int, default=500)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="edge-measure-"))
    folder.chmod(0o755)
    (folder / "postgres").mkdir()
    postgres = Postgres(folder / "postgres")
    postgres.start()
    try:
        stored = [consumers(amount, args.events, folder, postgres) for amount in (1, 3, 1, 3)]
        print(json.dumps({"store": stored, "exporter": exporter(args.devices, folder)}))
    finally:
        postgres.stop("immediate")
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
