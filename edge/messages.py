"""Records of MQTT that the parts pass to each other, and how a broker's address is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

PAYLOAD_MAX: Final = 16_384
"""Bytes of a payload that is read; longer ones are cut when they come."""


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT message, ready to go.

    topic        whole, base topic included
    expires_s    how long a broker may keep it (MQTT 5); None for ever
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
    """One MQTT message that has come.

    retained     it is an old one, which the broker kept
    came_s       when it came, as time.monotonic() counts
    answer_to    topic for the answer, empty where none was named (MQTT 5)
    correlation  to be given back with the answer (MQTT 5)
    cut_bytes    by how much the payload was longer than what is kept of it
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
    protocol    of MQTT
    transport   websockets: inside HTTP, at ``path``
    password    never shown
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
        """HOST:PORT, for messages; an address of IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def unbracketed(host: str) -> str:
    """Return a host as the system's calls want it: an address of IPv6 without its brackets."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


@dataclass(frozen=True, slots=True)
class Tls:
    """How to know the broker, and be known by it; empty paths: not used.

    ca_file                 authorities to trust, PEM; else the system's
    cert_file, key_file     this client's certificate and key, PEM
    accept_any_certificate  neither issuer, date nor name is checked
    """

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    accept_any_certificate: bool = False


class EventQueue(Protocol):
    """Keeps events until they are acknowledged, each under a number that only grows."""

    dropped_total: int
    """Events that nobody will get; those set aside are among them."""
    set_aside_total: int
    """Events that no broker, or not this one, can take."""

    def __len__(self) -> int:
        """Return how many wait."""

    @property
    def volatile(self) -> int:
        """How many of them end with the process."""

    def add(self, message: Message) -> int:
        """Keep ``message``; return its number."""

    def after(self, number: int) -> tuple[int, Message] | None:
        """Return the first that waits after ``number``, with its own number."""

    def done(self, number: int) -> None:
        """Forget one that has been acknowledged."""

    def set_aside(self, number: int) -> None:
        """Take one that the broker cannot have out of the queue, and count it."""

    def tick(self, now_s: float) -> None:
        """See to what goes by time."""
