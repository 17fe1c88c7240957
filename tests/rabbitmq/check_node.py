"""Checks of one RabbitMQ node in the place of mosquitto, run by `python -m tests.rabbitmq`."""

from __future__ import annotations

import subprocess

from deploy.broker import PrivateBroker
from tests.conftest import edge


def test_purge_finds_what_is_retained(broker: PrivateBroker) -> None:
    """RabbitMQ gives a subscription with wildcards no retained message: each is asked for."""
    address = ("-h", broker.host, "-p", str(broker.port), "-q", "1", "-r")
    for topic in ("edge/wall/info", "edge/wall/availability", "homeassistant/device/wall/config"):
        subprocess.run(["mosquitto_pub", *address, "-t", topic, "-m", "offline"], check=True)
    done = edge("purge", "--broker", broker.address, "wall")
    assert done.returncode == 0
    assert done.stdout.split()[1::2] == [
        *("edge/wall/availability", "edge/wall/info", "homeassistant/device/wall/config"),
    ]
    again = edge("purge", "--broker", broker.address, "wall")
    assert "retains nothing of wall" in again.stderr
