"""Packets and requests with bytes changed: nothing is raised into the loop, no thread ends."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import MQTTErrorCode

from edge.contract import REQUESTS
from edge.daemon import identity
from edge.daemon.inbox import Inbox
from edge.messages import PAYLOAD_MAX, Broker, Incoming
from edge.mqtt import packets
from edge.mqtt.access import Access
from edge.mqtt.client import Client
from edge.mqtt.limits import limits
from tests.fuzz import corpus, fuzz, mutated
from tests.hand_broker import Connection, HandBroker
from tests.test_mqtt import OFFLINE
from tests.test_mqtt_hostile import has, publisher

PACKETS = corpus("mqtt")
ASKED = corpus("requests")


def received(content: bytes) -> tuple[Client, list[Incoming], bool]:
    """Let a client read what a broker has sent, the protocol's version first.

    Return the client, what has come, and whether the connection is closed.
    """
    came: list[Incoming] = []
    protocol = "5" if content[:1] == b"\x05" else "3.1.1"
    client = Access(Broker("127.0.0.1", 1, protocol=protocol)).client(  # type: ignore[arg-type]
        "d", on_incoming=came.append
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        client._sock = ours
        theirs.sendall(content[1:])
        theirs.shutdown(socket.SHUT_WR)
        code = MQTTErrorCode.MQTT_ERR_SUCCESS
        while client._sock is not None and code == MQTTErrorCode.MQTT_ERR_SUCCESS:
            code = client.loop_read()
        closed = client._sock is None
        client._sock = None
    return client, came, closed


@pytest.mark.fuzz
@fuzz(600)
@given(st.lists(mutated(PACKETS), min_size=1, max_size=3))
def test_no_packet_is_raised_into_the_network_thread(contents: list[bytes]) -> None:
    """What cannot be read ends the connection at most; what is held is bounded."""
    client, came, closed = received(contents[0][:1] + b"".join(part[1:] for part in contents))
    assert closed
    for incoming in came:
        assert len(incoming.payload) <= PAYLOAD_MAX
        assert len(incoming.topic) <= packets.NAME_BYTES
    if client.limits is not None:
        assert client.limits.receive_max >= 1
        assert client._max_inflight_messages >= 1


@pytest.mark.fuzz
@fuzz(300)
@given(st.binary(max_size=60), st.integers(0, 3))
def test_properties_are_read_or_refused(content: bytes, at: int) -> None:
    """A ValueError, or values that lie within the packet."""
    try:
        given_, end = packets.properties(content, at)
    except ValueError:
        return
    assert end <= len(content)
    assert sum(map(len, given_.values())) <= len(content)
    limits(given_)


@pytest.mark.fuzz
@fuzz(400)
@given(st.sampled_from([*REQUESTS, "", "x"]), mutated(ASKED), st.integers(0, 2))
def test_no_request_is_raised_into_the_loop(command: str, payload: bytes, cut: int) -> None:
    """A request, or an error with its line."""
    incoming = Incoming(f"edge/d/request/{command}", payload, came_s=1.0, cut_bytes=cut * 20_000)
    asked = Inbox().read(incoming, 1.0)
    assert asked is not None
    assert (asked.body is None) == bool(asked.error)
    assert len(asked.error) <= 200
    identity.read(Incoming("edge/d/claim", payload))


@pytest.mark.fuzz
@fuzz(6)
@given(st.lists(mutated(PACKETS), min_size=30, max_size=30))
def test_the_client_comes_back_after_whatever_was_sent(contents: list[bytes]) -> None:
    """Thirty connections in a row end in something; the next one works."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("random.uniform", lambda *_: 0.002)
        connections: list[Connection] = []

        def serve(connection: Connection) -> None:
            connections.append(connection)
            if len(connections) <= len(contents):
                connection.read()
                connection.send(contents[len(connections) - 1][1:])
                connection.finish()
            else:
                connection.greet()
                connection.attend()

        with HandBroker(serve) as broker:
            made = publisher(broker.port)
            made.connect()
            made.until(lambda: len(connections) > len(contents))
            made.until(lambda: has(connections[-1], b"availability"))
            made.close(OFFLINE, 0.2)
