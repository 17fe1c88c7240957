"""Many devices in one process: this project's own contract and mqtt code, no camera, no model.

A process connects its devices, reports it, sends from one line of its input to the next, waits
until every spool is empty, and reports what each device sent and when it came back.
"""

from __future__ import annotations

import json
import logging
import select
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

from edge.contract import Figures, Frames, Health, StageTimes, Totals
from edge.contract.encode import Wire
from edge.frames import Prediction
from edge.messages import Broker, Tls
from edge.mqtt import Publisher
from edge.mqtt.spool import Spool
from edge.telemetry import Stages

LABELS: Final = ("cat", "dog")
SETTLE_S: Final = 90.0
"""Longest wait for all devices to connect, and for what is on its way at the end."""
KEEPALIVE_S: Final = 10
TIMES: Final = StageTimes(1.0, 1.2, 1.5, 2.0)
TELEMETRY: Final = Figures(
    Frames(
        interval_s=10.0, fps=30.0, frames_total=1, dropped_total=0, corrupt_total=0,
        stages_ms=dict.fromkeys(Stages.NAMES, TIMES),
    ),
    Health(
        rss_bytes=9 * 10**7, pss_bytes=8 * 10**7, cpu_share=0.2, temperature_celsius=51.5,
        cpu_clock_hz=1_800_000_000, throttled_bits=0, load_1m=0.3,
    ),
    Totals(
        uptime_s=9.0, unsent_total=0, spooled=0, spool_failures_total=0, reconnects_total=0,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """What one process is given.

    events, telemetry  a second and device
    ca_file            TLS, and a login for each device; empty: neither
    """

    host: str
    port: int
    ca_file: str
    first: int
    amount: int
    events: float
    telemetry: float


@dataclass(frozen=True, slots=True)
class Sent:
    """What one process has sent.

    events      device id -> number of events
    reconnects  when each device was online after a lost connection, time.monotonic
    """

    events: dict[str, int]
    telemetry: int
    reconnects: list[float]
    unsent: int
    spooled: int
    cpu_s: float


def name(number: int) -> str:
    """Return a device id."""
    return f"device-{number:04}"


def password(name: str) -> str:
    """Return a device's password."""
    return f"secret-{name}"


class Device:
    """One daemon's messages."""

    def __init__(self, part: Part, number: int) -> None:
        self.id = name(number)
        self.wiring = wire = Wire(f"edge/{self.id}", LABELS, f"{number:08x}", time.time)
        self.spool = Spool(None, 10_000, 10_000_000)
        broker = Broker(part.host, part.port, keepalive_s=KEEPALIVE_S)
        if part.ca_file:
            broker = Broker(
                *(part.host, part.port),
                username=self.id,
                password=password(self.id),
                tls=Tls(part.ca_file),
                keepalive_s=KEEPALIVE_S,
            )
        self.publisher = Publisher(
            broker,
            client_id=f"edge-{self.id}-{number:08x}",
            will=wire.availability(online=False),
            birth=wire.availability(online=True),
            events=self.spool,
            topics=(f"edge/{self.id}/request/+",),
            user=("schema", "1"),
        )
        self._flip = False
        self._connections = 0
        self.publisher.publish(wire.state(prediction(0)))
        self.publisher.connect()

    def event(self) -> None:
        """Publish a change of label, and the state."""
        self._flip = not self._flip
        before, after = LABELS[:: 1 if self._flip else -1]
        evidence: dict[str, float | int | str] = {"score": 0.91, "before_s": 4.2, "frame": 1234}
        self.publisher.publish(self.wiring.event("label_changed", before, after, evidence))
        self.publisher.publish(self.wiring.state(prediction(self._flip)))

    def telemetry(self) -> None:
        """Publish telemetry."""
        self.publisher.publish(self.wiring.telemetry(TELEMETRY))

    def returned(self) -> bool:
        """Poll; return whether a lost connection has been replaced since the last call."""
        self.publisher.poll()
        before, self._connections = self._connections, self.publisher.reconnects_total
        return self._connections > before


def prediction(best: int) -> Prediction:
    """Return a device's prediction."""
    return Prediction(1234, 0, LABELS[best], 0.91, (0.09, 0.91), 0, partial=False)


def work(part: Part) -> None:
    """Be the process; see the module."""
    logging.getLogger("edge").setLevel(logging.ERROR)  # each device would report each fault
    devices = [Device(part, part.first + n) for n in range(part.amount)]
    reconnects: list[float] = []
    wait(devices, reconnects, lambda: all(d.publisher.online for d in devices))
    print("up", flush=True)
    sys.stdin.readline()
    cpu_s, start = time.process_time(), time.monotonic()
    sent = {"event": 0, "telemetry": 0}
    counts = dict.fromkeys((device.id for device in devices), 0)
    while not select.select([sys.stdin], [], [], 0.001)[0]:
        spent = time.monotonic() - start
        for kind, rate in (("event", part.events), ("telemetry", part.telemetry)):
            while sent[kind] < spent * rate * part.amount:
                device = devices[sent[kind] % part.amount]
                getattr(device, kind)()
                counts[device.id] += kind == "event"
                sent[kind] += 1
        poll(devices, reconnects)
    sys.stdin.readline()
    cpu_s = time.process_time() - cpu_s
    wait(devices, reconnects, lambda: not any(device.spool for device in devices))
    unsent = sum(device.publisher.unsent_total for device in devices)
    spooled = sum(len(device.spool) for device in devices)
    report = Sent(counts, sent["telemetry"], reconnects, unsent, spooled, cpu_s)
    print(json.dumps(asdict(report)), flush=True)
    sys.stdin.readline()  # a process that ends takes its connections with it
    for device in devices:
        device.publisher.leave()


def poll(devices: list[Device], reconnects: list[float]) -> None:
    """Poll every device; record which have returned."""
    for device in devices:
        if device.returned():
            reconnects.append(time.monotonic())


def wait(devices: list[Device], reconnects: list[float], condition: Callable[[], bool]) -> None:
    """Poll until ``condition`` holds, at most SETTLE_S."""
    until_s = time.monotonic() + SETTLE_S
    while not condition() and time.monotonic() < until_s:
        poll(devices, reconnects)
        time.sleep(0.01)
