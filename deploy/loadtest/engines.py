"""The brokers that `make load` knows: one mosquitto, and a cluster of three RabbitMQ nodes."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from deploy.broker import PrivateBroker
from deploy.loadtest.devices import name, password
from deploy.loadtest.engine import Fault
from deploy.rabbitmq.cluster import Cluster
from deploy.rabbitmq.definitions import Login
from deploy.rabbitmq.node import Node

SHIPPED: Final = Path(__file__).resolve().parent.parent / "mosquitto"
DOWN_S: Final = 10.0
"""How long a killed broker is away."""
CUT_S: Final = 40.0
"""How long a node is cut off: it notices after 9 to 15 s."""
LOGIN: Final = ("homeassistant", "secret")
"""The subscriber's: it may read every event."""


def logins(devices: int) -> list[Login]:
    """Return the users of a run."""
    names = [name(number) for number in range(devices)]
    users = [Login(device, password(device)) for device in names]
    return [*users, Login(*LOGIN, "homeassistant")]


class Mosquitto:
    """One mosquitto. ``ca_file``: of TLS; its devices then log in, and it is killed."""

    login = LOGIN

    def __init__(self, broker: PrivateBroker, ca_file: str = "") -> None:
        self._broker, self.ca_file = broker, ca_file
        self.host, self.port = broker.host, broker.port

    @staticmethod
    def options(folder: Path, certs: Path, users: list[Login]) -> list[str]:
        """Return the lines of deploy/mosquitto/edge.conf for files in these folders."""
        passwords, acl = folder / "passwords", folder / "acl"
        passwords.write_text("".join(f"{user.name}:{user.password}\n" for user in users))
        subprocess.run(["mosquitto_passwd", "-U", passwords], check=True)
        acl.write_bytes((SHIPPED / "acl").read_bytes())
        for file in (passwords, acl):
            file.chmod(0o600)
        text = (SHIPPED / "edge.conf").read_text()
        for path, here in (
            ("/etc/mosquitto/certs", certs),
            ("/etc/mosquitto/passwords", passwords),
            ("/etc/mosquitto/acl", acl),
        ):
            text = text.replace(path, str(here))
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        return [line for line in lines if not line.startswith("listener")]

    def pids(self) -> list[int]:
        """Return its process."""
        return [self._broker.pid]

    def faults(self) -> Sequence[Fault]:
        """Return none without TLS: the plain run measures the rate; else a power cut."""

        def kill() -> None:
            self._broker.signal(signal.SIGKILL)
            self._broker.stop()

        killed = Fault("the broker is killed", lambda: kill, DOWN_S, self._broker.start)
        return [killed] if self.ca_file else []


class RabbitMQ:
    """A cluster of three."""

    login = LOGIN

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.host, self.port = cluster.host, cluster.port
        self.ca_file = str(cluster.ca_file)
        self._node: Node | None = None

    def pids(self) -> list[int]:
        """Return the process of each node."""
        return [node.pid for node in self._cluster.nodes.values()]

    def faults(self) -> Sequence[Fault]:
        """Return them; which node is hit is decided at the time."""
        cluster = self._cluster

        def restart() -> None:
            assert self._node
            self._node.start()
            cluster.wait(self._node)

        def heal() -> None:
            cluster.heal()
            cluster.wait(*cluster.nodes.values())

        def follower() -> Callable[[], None]:
            leader = cluster.leader()
            self._node = next(node for node in cluster.nodes.values() if node is not leader)
            return self._node.kill

        def leader() -> Callable[[], None]:
            self._node = cluster.leader()
            return self._node.kill

        def alone() -> Callable[[], None]:
            return partial(cluster.cut, cluster.leader())

        return [
            Fault("a node is killed", follower, DOWN_S, restart),
            Fault("the leader is killed", leader, DOWN_S, restart),
            Fault("the leader is cut off", alone, CUT_S, heal),
        ]
