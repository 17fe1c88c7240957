"""Records of MQTT that rooms pass to each other: messages, and how to reach a broker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

Seconds = float
PAYLOAD_MAX: Final = 16_384
"""Bytes of an incoming payload; longer ones are cut on arrival."""


@dataclass(frozen=True, slots=True)
class Message:
    """One outgoing MQTT message.

    topic        whole, base topic included
    expires_s    how long a broker may keep it (MQTT 5); None: for ever
    correlation  of the request that it answers (MQTT 5)
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    expires_s: int | None = None
    correlation: bytes = b""


@dataclass(frozen=True, slots=True)
class Incoming:
    """One incoming MQTT message.

    retained     delivered from the broker's retained store
    came_s       time of arrival, by time.monotonic()
    answer_to    topic for the answer, empty if the request names none (MQTT 5)
    correlation  to be returned with the answer (MQTT 5)
    cut_bytes    bytes cut from the end of the payload
    """

    topic: str
    payload: bytes
    retained: bool = False
    came_s: float = 0.0
    answer_to: str = ""
    correlation: bytes = b""
    cut_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Broker:
    """How to reach a broker.

    host, port  name or address; TCP port
    protocol    version of MQTT
    transport   websockets: over HTTP, at ``path``
    password    not in the repr
    tls         None: unencrypted
    """

    host: str
    port: int
    protocol: Literal["5", "3.1.1"] = "5"
    transport: Literal["tcp", "websockets"] = "tcp"
    path: str = "/mqtt"
    username: str = ""
    password: str = field(default="", repr=False)
    tls: Tls | None = None
    keepalive_s: int = 30
    reconnect_s: int = 30

    @property
    def address(self) -> str:
        """HOST:PORT, for log and error lines; an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def unbracketed(host: str) -> str:
    """Return a host as system calls expect it: an IPv6 address without brackets."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


@dataclass(frozen=True, slots=True)
class Tls:
    """How to verify the broker, and identify this client; empty paths: not used.

    ca_file                 authorities to trust, PEM; empty: the system's
    cert_file, key_file     this client's certificate and key, PEM
    accept_any_certificate  check neither issuer, date nor name
    """

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    accept_any_certificate: bool = False


class EventQueue(Protocol):
    """A queue that keeps events until they are acknowledged; their numbers only grow."""

    dropped_total: int
    """Events dropped undelivered, those set aside included."""
    set_aside_total: int
    """Events that this broker, or any, cannot take."""

    def __len__(self) -> int:
        """Return how many wait."""

    @property
    def volatile(self) -> int:
        """How many of them are lost with the process."""

    def add(self, message: Message) -> int:
        """Queue ``message``; return its number."""

    def after(self, number: int) -> tuple[int, Message] | None:
        """Return the first event after ``number``, with its own number."""

    def done(self, number: int) -> None:
        """Remove an acknowledged event."""

    def set_aside(self, number: int) -> None:
        """Take an event that the broker refuses out of the queue, and count it."""

    def tick(self, now_s: float) -> None:
        """Do what is due by time."""
