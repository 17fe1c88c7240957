"""One RabbitMQ node in the place of a mosquitto, for the tests; see __main__.py."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Final

import pytest
from paho.mqtt.client import topic_matches_sub

from deploy.broker import PrivateBroker
from deploy.rabbitmq.node import Node

ROOT: Final = Path(__file__).resolve().parents[2] / "build" / "rabbitmq" / "root"
FOLDER: Final = "EDGE_RABBITMQ"
"""Names, in the environment, the folder that is /mnt in ROOT; set: RabbitMQ is the broker."""

NAMED: Final = (
    *(
        f"edge/{device}/{kind}"
        for device in ("d", "wall")
        for kind in ("availability", "info", "state")
    ),
    "homeassistant/device/wall/config",
)
"""Topics that tests retain; RabbitMQ gives a subscription with wildcards no retained message."""


def with_names(topic: str) -> list[str]:
    """Return the filter ``topic``, and the names that it covers."""
    return [topic, *(name for name in NAMED if topic_matches_sub(topic, name) and name != topic)]


class RabbitBroker(PrivateBroker):
    """One RabbitMQ node in the place of a mosquitto; anonymous clients may do everything."""

    def __init__(self, *options: str) -> None:
        if options:
            pytest.skip(f"mosquitto's own options: {options[0]}")
        super().__init__()
        folder = Path(os.environ[FOLDER])
        name = f"r{self.port}"
        config = folder / f"{name}.conf"
        config.write_text(
            f"listeners.tcp = none\nmqtt.listeners.tcp.default = {self.host}:{self.port}\n"
            "log.console = true\nlog.console.level = info\n"
        )
        self._files = folder / name
        self._node = Node(
            *(name, ROOT, folder, (self.host, self.port)),
            RABBITMQ_NODENAME=f"{name}@{name}",  # one epmd knows all nodes by their first part
            RABBITMQ_CONFIG_FILE=f"/mnt/{name}.conf",
            RABBITMQ_ENABLED_PLUGINS_FILE="/mnt/enabled_plugins",
            RABBITMQ_DIST_PORT=str(self.port + 20_000),
        )
        with (folder / "hosts").open("a") as hosts:  # one short write: other workers add theirs
            hosts.write(f"127.0.0.1 {name}\n")

    @property
    def pid(self) -> int:
        """Process id of the running node."""
        return self._node.pid

    def start(self) -> None:
        """Start the node and wait until it listens."""
        self._node.start()
        self._node.wait()

    def stop(self) -> None:
        """Stop the node."""
        self._node.kill(signal.SIGTERM)

    def signal(self, number: int) -> None:
        """Send a signal to the node."""
        if pid := self.pid:
            os.kill(pid, number)

    def __exit__(self, *_: object) -> None:
        """Kill it, and remove its files."""
        self._node.kill()
        self._folder.cleanup()
        shutil.rmtree(self._files, ignore_errors=True)
