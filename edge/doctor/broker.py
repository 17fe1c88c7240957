"""Checks the broker step by step: name, port, TLS, login; then reads this device's retained topics.

It connects under a client id of its own, without a last will, and publishes nothing, so that no
daemon notices.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from edge import config as configs
from edge.config import Config, MqttConfig
from edge.doctor import published, tls
from edge.doctor.checks import Check, Findings
from edge.doctor.service import Unit
from edge.errors import ConfigError, PublishError
from edge.frames import Seconds
from edge.messages import Broker
from edge.mqtt import kept

STEP_S: Final = 3.0
PASSWORD: Final = "mqtt-password"
ROOT: Final = "run it as root: sudo edge doctor"


def check(config: Config, unit: Unit) -> list[Check]:
    """Return the checks `broker` and `published`."""
    findings, mqtt = Findings("broker"), config.mqtt
    device = f"{mqtt.base_topic}/{config.device.id}"
    retained: dict[str, bytes] | None = None
    broker = login(findings, config, unit)
    anonymous = configs.broker(msgspec.structs.replace(mqtt, username="", password_file=""))
    if any(name != PASSWORD for name in _sealed(mqtt)):
        anonymous = replace(anonymous, tls=None)  # its port can be tried without
    findings.facts["tls"] = mqtt.tls
    if _reached(findings, broker or anonymous) and broker:
        topics = [f"{device}/{topic}" for topic in published.TOPICS]
        retained = _retained(findings, broker, topics)
    places = Counter(":" in place for place in findings.facts.get("addresses", ()))
    nodes = max(places.values(), default=1)  # a host may have one of each family
    verdict = published.check(device, retained, config, unit, time.time(), nodes)
    return [findings.check(), verdict]


def login(findings: Findings, config: Config, unit: Unit) -> Broker | None:
    """Return the broker with its password; None, with a finding, if that is unreadable."""
    mqtt = config.mqtt
    by_systemd = mqtt.username and not mqtt.password_file and unit.installed
    if by_systemd and "CREDENTIALS_DIRECTORY" not in os.environ and os.geteuid():
        findings.wrong("unknown", "login not tried: only root can read systemd's credentials", ROOT)
        return None
    if sealed := _sealed(mqtt):
        what = f"login not tried: only the running service has {', '.join(sealed)}"
        findings.wrong(
            "unknown", what, ROOT if os.geteuid() else "start the service, then run this again"
        )
        return None
    try:
        return configs.broker(mqtt)
    except ConfigError as exc:
        if isinstance(exc.__cause__, PermissionError):
            findings.wrong("unknown", f"login not tried: {exc}", ROOT)
        else:
            findings.error(exc, "write the password into its first line")
        return None


def _sealed(mqtt: MqttConfig) -> list[str]:
    """Return the names of the required credentials that are encrypted.

    systemd decrypts them for the running service alone, into another folder.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    needed = {
        PASSWORD: mqtt.username and not mqtt.password_file,
        "mqtt-ca": mqtt.tls and not mqtt.ca_file,
        "mqtt-cert": mqtt.tls and not mqtt.cert_file,
        "mqtt-key": mqtt.tls and not mqtt.key_file,
    }
    return [
        name for name in needed if folder and needed[name] and Path(folder, f"{name}.cred").exists()
    ]


def _reached(findings: Findings, broker: Broker) -> bool:
    """Return whether a connection can be made, with TLS if configured."""
    findings.facts |= {"address": broker.address, "transport": broker.transport}
    try:
        begin_s = time.monotonic()
        places = socket.getaddrinfo(broker.host, broker.port, type=socket.SOCK_STREAM)
        findings.facts["addresses"] = sorted({str(place[4][0]) for place in places})
        connect(broker, STEP_S).close()
        reach_ms = round((time.monotonic() - begin_s) * 1000, 1)
    except socket.gaierror as exc:
        hint = "check mqtt.host and the network: resolvectl query NAME; ip route"
        findings.wrong("fault", f"{broker.address}: name not found: {exc.strerror}", hint)
        return False
    except OSError as exc:
        refused = isinstance(exc, ConnectionRefusedError)
        what = "nothing listens there" if refused else exc.strerror or "no answer in time"
        hint = "start the broker, or check mqtt.port" if refused else "check the network: ip route"
        findings.wrong("fault", f"{broker.address}: {what}", hint)
        return False
    findings.facts["reach_ms"] = reach_ms
    findings.say(f"{broker.address} reached in {reach_ms:.0f} ms")
    if broker.tls is None:
        return True
    return tls.check(findings, broker, broker.tls, lambda: connect(broker, STEP_S))


def connect(broker: Broker, timeout_s: Seconds) -> socket.socket:
    """Return a connection. Raises OSError."""
    return socket.create_connection((broker.host, broker.port), timeout_s)


def _retained(findings: Findings, broker: Broker, topics: list[str]) -> dict[str, bytes] | None:
    """Log in; return the retained payloads on ``topics``, None if the login fails."""
    client_id = f"edge-doctor-{secrets.token_hex(4)}"
    who = f"as {broker.username}" if broker.username else "without a user name"
    try:
        payloads = kept(broker, topics, STEP_S, client_id)
    except PublishError as exc:
        findings.facts["login"] = False
        hint = "check mqtt.username and the password's file" if "refused" in exc.what else (
            "does it speak MQTT there, and with TLS or without? see mqtt.port and mqtt.tls"
        )  # fmt: skip
        findings.wrong("fault", f"login {who}: {exc.what}", hint)
        return None
    findings.facts["login"] = True
    findings.say(f"logged in {who}, MQTT {broker.protocol}")
    return payloads
