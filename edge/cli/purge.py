"""Take back everything that a broker keeps of one device, Home Assistant's announcement included.

Composes the subscriber with discovery; the device itself should be stopped, or it tells all anew.
"""

from __future__ import annotations

from typing import Final

from edge.contract import homeassistant
from edge.errors import ConfigError
from edge.messages import Broker
from edge.mqtt import clear, kept

LONGEST_S: Final = 10.0


def run(broker: Broker, base: str, device: str, prefix: str) -> list[str]:
    """Clear every retained topic of ``device``; return them.

    base    what the topics begin with, without the device
    prefix  where Home Assistant looks
    Raises PublishError where the broker cannot be reached, ConfigError where the device is online.
    """
    mine = f"{base}/{device}"
    found = kept(broker, [f"{mine}/#", homeassistant.topic(prefix, device)], LONGEST_S)
    if found.get(f"{mine}/availability") == b"online":
        raise ConfigError(
            "the device is online and would tell all anew", where=device, hint="stop it first"
        )
    topics = sorted(topic for topic, payload in found.items() if payload)
    clear(broker, topics)
    return topics
