"""Take back everything that a broker keeps of one device, Home Assistant's announcement included.

Composes the subscriber with discovery; the device itself should be stopped, or it tells all anew.
"""

from __future__ import annotations

import time
from typing import Final

from edge import discovery
from edge.errors import ConfigError, PublishError
from edge.messages import Broker
from edge.mqtt import clear, subscribe

QUIET_S: Final = 1.0
"""The broker sends what it keeps at once; after so long without any, that was all."""
LONGEST_S: Final = 10.0


def run(broker: Broker, base: str, device: str, prefix: str) -> list[str]:
    """Clear every retained topic of ``device``; return them.

    base    what the topics begin with, without the device
    prefix  where Home Assistant looks
    Raises PublishError where the broker cannot be reached, ConfigError where the device is online.
    """
    mine = f"{base}/{device}"
    found: dict[str, bytes] = {}
    last_s = time.monotonic()

    def on_message(topic: str, payload: bytes) -> None:
        nonlocal last_s
        found[topic] = payload
        last_s = time.monotonic()

    wrong: list[str] = []
    topics = [f"{mine}/#", discovery.topic(prefix, device)]
    end = subscribe(broker, topics, on_message, lambda text: wrong.append(text) if text else None)
    until = time.monotonic() + LONGEST_S
    while time.monotonic() < min(until, last_s + QUIET_S) and not wrong:
        time.sleep(0.02)
    end()
    if wrong:
        raise PublishError(wrong[0], where=broker.address)
    if found.get(f"{mine}/availability") == b"online":
        raise ConfigError(
            "the device is online and would tell all anew", where=device, mend="stop it first"
        )
    kept = sorted(topic for topic, payload in found.items() if payload)
    clear(broker, kept)
    return kept
