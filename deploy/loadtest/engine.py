"""One run of many devices against one broker: connect, send, break it, repair it, count.

Knows no broker: an Engine says where it is, which processes it has, and which faults it can have.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Protocol

from deploy.loadtest.consumer import Consumer, Tally, tally
from deploy.loadtest.devices import SETTLE_S, Part, Sent

GROUP: Final = 100
"""Devices in one process: paho's select() knows 1,024 files, three a client."""
LOAD: Final = Path(__file__).resolve().parent.parent / "load.py"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to a broker.

    find    returns what does it, once it has found the victim
    hold_s  until ``undo``, which returns when the broker is whole
    """

    name: str
    find: Callable[[], Callable[[], None]]
    hold_s: float
    undo: Callable[[], None]


class Engine(Protocol):
    """A broker. ca_file: of TLS, "" for none; login: of the subscriber, who may read all events."""

    host: str
    port: int
    ca_file: str
    login: tuple[str, str]

    def pids(self) -> list[int]:
        """Return its processes."""

    def faults(self) -> Sequence[Fault]:
        """Return the faults, in order."""


@dataclass(frozen=True, slots=True)
class Broken:
    """What one fault did to the devices.

    recovery_s       from its beginning until no event is late any more
    reconnects       connections after the first, of all devices
    spread_s         from the first of them to the last
    busiest          most of them in any one second
    """

    name: str
    recovery_s: float
    reconnects: int
    spread_s: float
    busiest: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run; CPU and memory without faults, of all processes of the broker."""

    devices: int
    connected_s: float
    messages_per_s: float
    calm: Tally
    whole: Tally
    unsent: int
    spooled: int
    cpu_share: float
    memory_bytes: int
    devices_cpu_share: float
    broken: tuple[Broken, ...]


@dataclass(frozen=True, slots=True)
class Rates:
    """devices; seconds without a fault; events and telemetry a second and device."""

    devices: int
    seconds: float
    events: float
    telemetry: float


def measure(engine: Engine, rates: Rates, say: Callable[[str], None]) -> Figures:
    """Return the figures of one run."""
    consumer = Consumer(engine.host, engine.port, engine.ca_file, engine.login)
    began = time.monotonic()
    groups = [_group(engine, rates, first) for first in range(0, rates.devices, GROUP)]
    try:
        for group in groups:
            _line(group)
        connected_s = time.monotonic() - began
        say(f"{rates.devices} devices are connected after {connected_s:.1f} s")
        pids = engine.pids()
        before_s, start = sum(map(cpu_s, pids)), time.monotonic()
        _go(groups)
        time.sleep(rates.seconds)
        calm_s = time.monotonic() - start
        share = (sum(map(cpu_s, pids)) - before_s) / calm_s
        memory = sum(map(memory_bytes, pids))
        came = len(consumer.arrivals)
        marks = [_broken(fault, consumer, say) for fault in engine.faults()]
        lasted_s = time.monotonic() - start
        sent = [Sent(**json.loads(_line(group))) for group in _go(groups)]
        counts = {device: number for part in sent for device, number in part.events.items()}
        _settle(consumer, counts)
        _go(groups)
        for group in groups:
            group.wait()
    finally:
        for group in groups:
            group.kill()
            group.wait()
        consumer.close()
    events, telemetry = sum(counts.values()), sum(part.telemetry for part in sent)
    returned = sorted(at for part in sent for at in part.reconnects)
    ends = [*(begin_s for _, begin_s, _ in marks), float("inf")][1:]
    broken = [
        _figures(name, late_s, [at for at in returned if begin_s <= at < end_s])
        for (name, begin_s, late_s), end_s in zip(marks, ends, strict=False)
    ]
    return Figures(
        devices=rates.devices,
        connected_s=connected_s,
        messages_per_s=(2 * events + telemetry) / lasted_s,
        calm=tally({}, consumer.arrivals[:came]),
        whole=tally(counts, consumer.arrivals),
        unsent=sum(part.unsent for part in sent),
        spooled=sum(part.spooled for part in sent),
        cpu_share=share,
        memory_bytes=memory,
        devices_cpu_share=sum(part.cpu_s for part in sent) / lasted_s,
        broken=tuple(broken),
    )


def _group(engine: Engine, rates: Rates, first: int) -> subprocess.Popen[str]:
    amount = min(GROUP, rates.devices - first)
    place = (engine.host, engine.port, engine.ca_file, first, amount)
    part = Part(*place, rates.events, rates.telemetry)
    return subprocess.Popen(
        [sys.executable, LOAD, "--part", json.dumps(asdict(part))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _line(group: subprocess.Popen[str]) -> str:
    """Return the next line of a process. Raises RuntimeError if it has ended."""
    assert group.stdout
    if not (line := group.stdout.readline()):
        raise RuntimeError(f"a process of devices has ended with status {group.wait()}")
    return line


def _go(groups: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    """Send a line to every process, which then goes on; return them."""
    for group in groups:
        assert group.stdin
        group.stdin.write("\n")
        group.stdin.flush()
    return groups


def _broken(
    fault: Fault, consumer: Consumer, say: Callable[[str], None]
) -> tuple[str, float, float]:
    """Apply a fault; return its name, when it began, and the seconds until no event was late."""
    do = fault.find()
    begin_s = time.monotonic()
    do()
    say(fault.name)
    time.sleep(fault.hold_s)
    fault.undo()
    say(f"{fault.name}: whole after {time.monotonic() - begin_s:.1f} s")
    until_s = time.monotonic() + SETTLE_S
    quiet_s = 8.0  # longer than a device waits to connect
    while time.monotonic() < until_s:
        time.sleep(1.0)
        late_s = consumer.late_until(begin_s)
        now_s = time.monotonic()
        if now_s - begin_s - late_s > quiet_s and consumer.arrivals[-1].at_s > now_s - 2.0:
            break
    again = [f"{at - begin_s:.1f}" for at in consumer.connections if at > begin_s]
    say(f"{fault.name}: the last late event after {late_s:.1f} s; subscriber back: {again} s")
    return fault.name, begin_s, late_s


def _figures(name: str, late_s: float, returned: list[float]) -> Broken:
    busiest = max((sum(at <= other < at + 1 for other in returned) for at in returned), default=0)
    spread_s = returned[-1] - returned[0] if returned else 0.0
    return Broken(name, late_s, len(returned), spread_s, busiest)


def _settle(consumer: Consumer, counts: dict[str, int]) -> None:
    """Wait until every event has come, or SETTLE_S."""
    until_s = time.monotonic() + SETTLE_S
    while time.monotonic() < until_s and tally(counts, list(consumer.arrivals)).lost:
        time.sleep(0.5)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process. Source: proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_bytes(pid: int) -> int:
    """Return the proportional set size of a process. Source: proc(5)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
