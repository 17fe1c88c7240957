"""A broker's name with several addresses: each is tried, none is everybody's first."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.broker import PrivateBroker, free_port
from edge.messages import Broker, Message
from edge.mqtt.addresses import TRIED, Place, dial, order
from edge.mqtt.spool import Spool
from tests.test_mqtt import OFFLINE, ONLINE, Polled

V4, V6 = socket.AF_INET, socket.AF_INET6


def place(family: int, name: str) -> Place:
    """Return an address as the resolver does."""
    return family, socket.SOCK_STREAM, 6, "", (name, 1883)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of broker.example, in the order in which the system's resolver returns them."""
    names: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *rest: Any, **more: Any) -> Any:
        if host != "broker.example":
            return real(host, port, *rest, **more)
        return [(V4, socket.SOCK_STREAM, 6, "", (name, port)) for name in names]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return names


class Closing:
    """A node that takes connections and ends them: it listens, but does not serve."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_server((host, port))
        self.taken = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.taken += 1
            connection.close()

    def close(self) -> None:
        """Listen no more."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def closing() -> Iterator[Closing]:
    """A node at 127.0.0.1 that does not serve."""
    node = Closing("127.0.0.1", free_port())
    yield node
    node.close()


def test_each_address_is_somebodys_first() -> None:
    """Of three nodes each is first in about a third of the attempts, whatever the resolver says."""
    nodes = [place(V4, f"10.0.0.{n}") for n in (1, 2, 3)]
    first = Counter(order(nodes)[0][4][0] for _ in range(600))
    assert len(first) == 3
    assert min(first.values()) > 100
    assert all(sorted(order(nodes)) == nodes for _ in range(20))


def test_the_resolvers_preference_of_a_family_stays() -> None:
    """IPv6 before IPv4 where the resolver says so; then they take turns, each address once."""
    six, four = [place(V6, f"fd::{n}") for n in range(3)], [place(V4, "10.0.0.1")]
    for places, families in (([*six, *four], [V6, V4, V6, V6]), ([*four, *six], [V4, V6, V6, V6])):
        for _ in range(20):
            tried = order(places)
            assert [family for family, *_ in tried] == families
            assert sorted(tried) == sorted(places)


def test_an_attempt_tries_a_bounded_number_of_addresses() -> None:
    """A name with a thousand addresses does not keep the daemon connecting for an hour."""
    assert len(order([place(V4, f"10.0.{n // 250}.{n % 250}") for n in range(1000)])) == TRIED


def test_an_address_that_refuses_leads_to_the_next(resolver: list[str]) -> None:
    """One node of three listens: every attempt reaches it, in whatever order."""
    port = free_port()
    resolver[:] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    with socket.create_server(("127.0.0.2", port)) as server:
        for _ in range(20):
            with dial("broker.example", port, 5.0) as connection:
                assert connection.getpeername() == ("127.0.0.2", port)
            server.accept()[0].close()


def test_no_address_that_listens_is_an_error(resolver: list[str]) -> None:
    """The error is the one of an address, as with one alone."""
    resolver[:] = ["127.0.0.1", "127.0.0.2"]
    with pytest.raises(ConnectionRefusedError):
        dial("broker.example", free_port(), 5.0)


def test_a_node_that_does_not_serve_does_not_keep_a_device(
    resolver: list[str], closing: Closing
) -> None:
    """The first address takes connections and ends them; the device finds the broker behind it."""
    port = closing._socket.getsockname()[1]
    resolver[:] = ["127.0.0.1", "127.0.0.2"]
    broker = PrivateBroker()
    broker.host, broker.port = "127.0.0.2", port
    with broker:
        device = Polled(
            Broker("broker.example", port, reconnect_s=1),
            client_id="d",
            will=OFFLINE,
            birth=ONLINE,
            events=Spool(None, 100, 100_000),
        )
        device.connect()
        device.publish(Message("edge/d/event", b"1", 1, False))
        device.until(lambda: device.online and not device._events)
        device.leave()
