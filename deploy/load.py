"""``make load``: so many devices at once against one mosquitto on loopback.

    python deploy/load.py [--devices 500] [--seconds 30] [--events 0.2] [--telemetry 0.1]

Each device is this project's own wire and mqtt code, without camera and model: it connects,
announces itself, and publishes events (QoS 1) and telemetry (QoS 0) at the given rates a second. A
mosquitto_sub counts what arrives. Prints one line of JSON; exit status 1 where an event was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from deploy.broker import PrivateBroker  # noqa: E402
from edge.contract import Figures, Frames, Health, StageTimes, Totals  # noqa: E402
from edge.contract.encode import Wire  # noqa: E402
from edge.frames import Prediction  # noqa: E402
from edge.messages import Broker  # noqa: E402
from edge.mqtt import Publisher  # noqa: E402
from edge.mqtt.spool import Spool  # noqa: E402
from edge.telemetry import Stages  # noqa: E402

LABELS: Final = ("cat", "dog")
GROUP: Final = 100
"""Devices in one process: paho's select() knows 1,024 files, three a client."""
SETTLE_S: Final = 60.0
"""Longest wait for all devices to connect, and for what is on its way at the end."""
TIMES: Final = StageTimes(1.0, 1.2, 1.5, 2.0)


class Device:
    """One daemon's messages."""

    def __init__(self, broker: Broker, number: int) -> None:
        name = f"device-{number:04}"
        self.wiring = wire = Wire(f"edge/{name}", LABELS, f"{number:08x}", time.time)
        self.spool = Spool(None, 10_000, 10_000_000)
        self.publisher = Publisher(
            broker,
            client_id=f"edge-{name}-load",
            will=wire.availability(online=False),
            birth=wire.availability(online=True),
            events=self.spool,
            topics=(f"edge/{name}/request/+",),
            user=("schema", "1"),
        )
        self._flip = False
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


def prediction(best: int) -> Prediction:
    """Return a device's prediction."""
    return Prediction(1234, 0, LABELS[best], 0.91, (0.09, 0.91), 0, partial=False)


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


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process. Source: proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def count(file: Path) -> tuple[int, int]:
    """Return how many events have arrived, and how many different ones."""
    ids = [json.loads(line)["id"] for line in file.read_text().splitlines()]
    return len(ids), len(set(ids))


def main() -> int:
    """Run the load; print the figures."""
    parser = argparse.ArgumentParser(description="many devices against one mosquitto")
    parser.add_argument("--devices", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--events", type=float, default=0.2, help="a second and device")
    parser.add_argument("--telemetry", type=float, default=0.1, help="a second and device")
    parser.add_argument(
        "--group", help=argparse.SUPPRESS
    )  # FIRST:COUNT:PORT, for our own processes
    args = parser.parse_args()
    if args.group:
        group(args)
        return 0
    with PrivateBroker() as broker, tempfile.TemporaryDirectory() as folder:
        figures = run(args, broker, Path(folder) / "events")
    print(json.dumps(figures))
    return 1 if figures["events_lost"] else 0


def group(args: argparse.Namespace) -> None:
    """Run some of the devices: connect, report it, wait for a line, send, report what was sent."""
    first, amount, port = map(int, args.group.split(":"))
    devices = [Device(Broker("127.0.0.1", port), first + n) for n in range(amount)]
    until = time.monotonic() + SETTLE_S
    wait(devices, lambda: all(d.publisher.online for d in devices), until)
    print("up", flush=True)
    sys.stdin.readline()
    cpu_s, start = time.process_time(), time.monotonic()
    sent = {"event": 0, "telemetry": 0}
    while (spent := time.monotonic() - start) < args.seconds:
        for kind, rate in (("event", args.events), ("telemetry", args.telemetry)):
            while sent[kind] < spent * rate * amount:
                getattr(devices[sent[kind] % amount], kind)()
                sent[kind] += 1
        poll(devices)
        time.sleep(0.001)
    cpu_s = time.process_time() - cpu_s
    until = time.monotonic() + SETTLE_S
    wait(devices, lambda: not any(d.spool for d in devices), until)
    unsent = sum(d.publisher.unsent_total for d in devices)
    print(json.dumps(sent | {"cpu_s": cpu_s, "unsent": unsent}), flush=True)
    sys.stdin.readline()  # a group that ends takes its connections with it
    for device in devices:
        device.publisher.leave()


def poll(devices: list[Device]) -> None:
    """Poll every device."""
    for device in devices:
        device.publisher.poll()


def wait(devices: list[Device], condition: Callable[[], bool], until_s: float) -> None:
    """Poll until ``condition`` holds, at most until then."""
    while not condition() and time.monotonic() < until_s:
        poll(devices)
        time.sleep(0.01)


def run(args: argparse.Namespace, broker: PrivateBroker, arrived: Path) -> dict[str, Any]:
    """Return the figures of one run."""
    address = ["-h", broker.host, "-p", str(broker.port)]
    with arrived.open("wb") as file:
        command = ["mosquitto_sub", *address, "-t", "edge/+/event", "-q", "1"]
        subscriber = subprocess.Popen(command, stdout=file)
    began = time.monotonic()
    groups = []
    for first in range(0, args.devices, GROUP):
        place = f"{first}:{min(GROUP, args.devices - first)}:{broker.port}"
        command = [sys.executable, __file__, "--group", place, "--seconds", str(args.seconds)]
        command += ["--events", str(args.events), "--telemetry", str(args.telemetry)]
        pipe = subprocess.PIPE
        groups.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))
    for process in groups:
        line(process)
    connected_s = time.monotonic() - began
    broker_s, start = cpu_s(broker.pid), time.monotonic()
    reports = [json.loads(line(process)) for process in go(groups)]
    broker_share = (cpu_s(broker.pid) - broker_s) / (time.monotonic() - start)
    sent = {key: sum(group[key] for group in reports) for key in reports[0]}
    until = time.monotonic() + SETTLE_S
    while time.monotonic() < until and count(arrived)[1] < sent["event"]:
        time.sleep(0.2)
    total, distinct = count(arrived)
    for process in go(groups):
        process.communicate()
    subscriber.terminate()
    subscriber.wait()
    return {
        "devices": args.devices,
        "connected_s": round(connected_s, 2),
        "seconds": args.seconds,
        "messages_per_s": round((2 * sent["event"] + sent["telemetry"]) / args.seconds, 1),
        "events": sent["event"],
        "events_lost": sent["event"] - distinct,
        "events_twice": total - distinct,
        "qos0_unsent": sent["unsent"],
        "broker_cpu_share": round(broker_share, 3),
        "devices_cpu_share": round(sent["cpu_s"] / args.seconds, 3),
    }


def line(process: subprocess.Popen[str]) -> str:
    """Return the next line of a group."""
    assert process.stdout
    return process.stdout.readline()


def go(groups: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    """Send a line to every group, which then continues; return them."""
    for process in groups:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    return groups


if __name__ == "__main__":
    sys.exit(main())
