"""Brokers and strangers who send what they should not: made by hand, or real ones that relay it.

Peak memory is the daemon's VmHWM, before and after.
"""

from __future__ import annotations

import json
import re
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.broker import PrivateBroker
from edge.messages import Broker, Message
from edge.mqtt.client import PACKET_MAX
from edge.spool import Spool
from tests.certificates import Authority
from tests.conftest import WAIT_S, Daemon, Listener
from tests.hand_broker import (
    Connection,
    HandBroker,
    frame,
    packet,
    publish,
    section,
    text,
    variable,
)
from tests.test_control import Asker, online
from tests.test_mqtt import OFFLINE, ONLINE, Polled

Start = Callable[..., Daemon]
MARGIN = 20_000_000
"""Bytes; what a broker may send more than this at once is bounded."""
REQUEST = b"edge/wall/request/ping"
ANSWER = b"edge/wall/response/ping"


def peak_bytes(daemon: Daemon) -> int:
    """Return the most memory that the daemon has held so far."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found, status
    return int(found[1]) * 1024


def config(protocol: str = "5", fps: float = 30.0, **mqtt: str) -> str:
    """Return a config."""
    more = "".join(f"{key} = {json.dumps(value)}\n" for key, value in mqtt.items())
    return (
        f'[device]\nid = "wall"\n[camera]\nfps = {fps}\n[publish]\ntelemetry_interval_s = 0.5\n'
        f'[mqtt]\nprotocol = "{protocol}"\n{more}'
    )


class Session:
    """A hand-made broker's side of a connection that a test goes on with."""

    def __init__(self) -> None:
        self.connection: Connection | None = None

    def serve(self, connection: Connection) -> None:
        """Greet, and answer until the client leaves."""
        connection.greet()
        self.connection = connection
        connection.attend()

    def get(self) -> Connection:
        """Return the connection, subscribed to all and told that it is online."""
        wait(lambda: self.connection is not None and has(self.connection, b"availability"))
        assert self.connection is not None
        wait(lambda: self.connection is not None and len(self.connection.subscribed) == 4)
        return self.connection


def has(connection: Connection, kind: bytes, count: int = 1) -> bool:
    """Return whether a topic that ends so has come."""
    topics = [topic for topic, _ in list(connection.published)]
    return sum(topic.endswith(kind) for topic in topics) >= count


def wait(condition: Callable[[], bool], longest_s: float = WAIT_S) -> None:
    """Return once ``condition`` holds."""
    until = time.monotonic() + longest_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def answers(connection: Connection) -> list[Any]:
    """Return the answers so far."""
    found = list(connection.published)
    return [json.loads(payload) for topic, payload in found if b"/response/" in topic]


def ping(connection: Connection, transaction: str, mid: int) -> None:
    """Send a request that is good, and wait for its answer and its acknowledgement."""
    properties = b"" if connection.version == 5 else None
    body = json.dumps({"transaction": transaction}).encode()
    connection.send(publish(REQUEST, body, qos=1, mid=mid, properties=properties))
    wait(lambda: any(answer["transaction"] == transaction for answer in answers(connection)))
    wait(lambda: mid in connection.acknowledged)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the broker's certificate."""
    return Authority(tmp_path_factory.mktemp("ca"), "authority")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("way", ["tcp", "tls", "websockets", "websockets and tls"])
def test_a_packet_of_any_length_is_not_held(
    protocol: str, way: str, daemon: Start, rgb: Path, authority: Authority
) -> None:
    """Two requests of 64 MB: read, refused, acknowledged; the memory stays, the next is answered."""
    tls, websocket = "tls" in way, "websockets" in way
    pair = authority.sign("broker") if tls else None
    session, size = Session(), 64_000_000
    more: dict[str, Any] = {"transport": "websockets"} if websocket else {}
    if tls:
        more |= {"tls": True, "ca_file": str(authority.cert)}
    with HandBroker(session.serve, tls=pair, websocket=websocket) as broker:
        arguments = ("--source", "synthetic", "--model", rgb, "--broker", broker.address)
        running = daemon(*arguments, config=config(protocol, **more))
        connection = session.get()
        before = peak_bytes(running)
        empty = None if protocol == "3.1.1" else b""
        for mid in (1, 2):
            body = publish(REQUEST, b"", qos=1, mid=mid, properties=empty)[2:]
            head = b"\x32" + variable(len(body) + size) + body
            with connection.whole:
                if websocket:
                    connection.send_plain(frame(head, claimed=len(head) + size))
                else:
                    connection.send_plain(head)
                for _ in range(size // 1_000_000):
                    connection.send_plain(b" " * 1_000_000)
        wait(lambda: {1, 2} <= set(connection.acknowledged))
        wait(lambda: len(answers(connection)) == 2)
        expected = f"{size} bytes: expected at most 16384"
        assert [answer["error"] for answer in answers(connection)] == [expected] * 2
        ping(connection, "after", 3)
        assert peak_bytes(running) < before + MARGIN
        assert broker.connections_total == 1
