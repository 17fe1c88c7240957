"""`edge purge`: removes every retained message of one device, Home Assistant's discovery included.

The device must be stopped, or it would publish them again.
"""

from __future__ import annotations

from typing import Final

from edge.contract import homeassistant
from edge.errors import ConfigError
from edge.messages import Broker
from edge.mqtt import clear, kept

LONGEST_S: Final = 10.0
RETAINED: Final = ("availability", "info", "state", "snapshot")
"""Asked for by name too: RabbitMQ gives a subscription with wildcards no retained message."""


def run(broker: Broker, base: str, device: str, prefix: str) -> list[str]:
    """Clear every retained topic of ``device``; return them.

    base    what the topics begin with, without the device
    prefix  of Home Assistant's discovery topics
    Raises PublishError if the broker cannot be reached, ConfigError if the device is online.
    """
    mine = f"{base}/{device}"
    names = (f"{mine}/{kind}" for kind in ("#", *RETAINED))
    retained = kept(broker, [*names, homeassistant.topic(prefix, device)], LONGEST_S)
    if retained.get(f"{mine}/availability") == b"online":
        raise ConfigError(
            "the device is online and would publish again", where=device, hint="stop it first"
        )
    topics = sorted(topic for topic, payload in retained.items() if payload)
    clear(broker, topics)
    return topics
