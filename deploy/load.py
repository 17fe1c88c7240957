"""``make load``: so many devices at once against one mosquitto, or against a cluster as well.

    python deploy/load.py [--broker mosquitto|cluster] [--devices 500] [--seconds 30]
                          [--events 0.2] [--telemetry 0.1]

Each device is this project's own contract and mqtt code, without camera and model: it connects,
announces itself, and publishes events (QoS 1) and telemetry (QoS 0) at the given rates a second. A
subscriber counts what arrives.

mosquitto  on loopback, without a fault: one line of JSON
cluster    one mosquitto, then three RabbitMQ nodes (deploy/rabbitmq), both with TLS, a login for
           each device and its permissions; both are killed, a node is cut off: a table. Needs root.

Exit status 1 where an event was lost: by the cluster, or by a mosquitto that was not killed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from deploy.broker import PrivateBroker  # noqa: E402
from deploy.loadtest import devices  # noqa: E402
from deploy.loadtest.engine import Rates, measure  # noqa: E402
from deploy.loadtest.engines import Mosquitto, RabbitMQ, logins  # noqa: E402
from deploy.loadtest.table import table  # noqa: E402
from deploy.rabbitmq import namespaces  # noqa: E402
from deploy.rabbitmq.cluster import Cluster, certificates  # noqa: E402

RABBITMQ: Final = ROOT / "build" / "rabbitmq"


def main() -> int:
    """Run the load; print the figures."""
    parser = argparse.ArgumentParser(description="many devices against one broker")
    parser.add_argument("--broker", default="", help="mosquitto (the default) or cluster")
    parser.add_argument("--devices", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=30.0, help="without a fault")
    parser.add_argument("--events", type=float, default=0.2, help="a second and device")
    parser.add_argument("--telemetry", type=float, default=0.1, help="a second and device")
    parser.add_argument("--part", help=argparse.SUPPRESS)  # for our own processes
    args = parser.parse_args()
    if args.part:
        devices.work(devices.Part(**json.loads(args.part)))
        return 0
    if args.broker not in ("", "mosquitto", "cluster"):
        say(f"no broker {args.broker!r}; expected mosquitto or cluster")
        return 64
    rates = Rates(args.devices, args.seconds, args.events, args.telemetry)
    try:
        return cluster(rates) if args.broker == "cluster" else mosquitto(rates)
    except (RuntimeError, OSError) as exc:
        say(str(exc))
        return 69


def mosquitto(rates: Rates) -> int:
    """Measure one mosquitto."""
    with PrivateBroker() as broker:
        run = measure(Mosquitto(broker), rates, say)
    figures = {
        "devices": run.devices,
        "connected_s": round(run.connected_s, 2),
        "seconds": rates.seconds,
        "messages_per_s": round(run.messages_per_s, 1),
        "events": run.whole.sent,
        "events_lost": run.whole.lost,
        "events_twice": run.whole.twice,
        "qos0_unsent": run.unsent,
        "broker_cpu_share": round(run.cpu_share, 3),
        "devices_cpu_share": round(run.devices_cpu_share, 3),
    }
    print(json.dumps(figures))
    return 1 if run.whole.lost else 0


def cluster(rates: Rates) -> int:
    """Measure one mosquitto and the cluster, in namespaces of their own; kill both."""
    namespaces.make_root(RABBITMQ)
    namespaces.enter()
    users = logins(rates.devices)
    with tempfile.TemporaryDirectory(prefix="edge-load-") as made:
        folder = Path(made)
        ca_file = certificates(folder / "certs")
        namespaces.connect(folder)
        options = Mosquitto.options(folder, folder / "certs", users)
        with PrivateBroker(*options) as broker:
            say("one mosquitto")
            single = measure(Mosquitto(broker, str(ca_file)), rates, say)
        with Cluster(RABBITMQ / "root", folder / "nodes", users) as nodes:
            say("three RabbitMQ nodes")
            three = measure(RabbitMQ(nodes), rates, say)
    print(table({"one mosquitto": single, "three RabbitMQ nodes": three}))
    return 1 if three.whole.lost or three.whole.changed or three.whole.disorder else 0


def say(text: str) -> None:
    """Report progress."""
    print(f"load: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
