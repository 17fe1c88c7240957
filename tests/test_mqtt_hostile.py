"""Hostile brokers and messages: brokers made by hand, or real ones that relay messages.

Peak memory is the daemon's VmHWM, before and after.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deploy.broker import PrivateBroker
from edge.messages import Broker
from edge.mqtt.spool import Spool
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
        """Return the connection, once all is subscribed and `online` has come."""
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
    """Send a good request until it is within the rate; wait for answer and acknowledgement."""
    properties = b"" if connection.version == 5 else None
    body = json.dumps({"transaction": transaction}).encode()
    transactions: list[Any] = []
    while transaction not in transactions:
        count = len(answers(connection))
        connection.send(publish(REQUEST, body, qos=1, mid=mid, properties=properties))
        wait(partial(more_answers, connection, count))
        transactions = [answer["transaction"] for answer in answers(connection)]
    wait(lambda: mid in connection.acknowledged)


def answer_or_telemetry(connection: Connection) -> Callable[[], bool]:
    """Return what becomes true with the first answer, or after two more telemetry messages."""
    count = sum(topic.endswith(b"telemetry") for topic, _ in list(connection.published))
    return lambda: bool(answers(connection)) or has(connection, b"telemetry", count + 2)


def more_answers(connection: Connection, count: int) -> bool:
    """Return whether more than ``count`` answers have come."""
    return len(answers(connection)) > count


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the broker's certificate."""
    return Authority(tmp_path_factory.mktemp("ca"), "authority")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("way", ["tcp", "tls", "websockets", "websockets and tls"])
def test_a_packet_of_any_length_is_not_held(
    protocol: str, way: str, daemon: Start, rgb: Path, authority: Authority
) -> None:
    """Two requests of 64 MB: read, refused, acknowledged; the memory stays, the next goes on."""
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


def test_a_frame_that_claims_gigabytes_is_not_held(daemon: Start, rgb: Path) -> None:
    """One frame of 2 GB, 80 MB of which come, full of packets: read as they come."""
    session = Session()
    with HandBroker(session.serve, websocket=True) as broker:
        arguments = ("--source", "synthetic", "--model", rgb, "--broker", broker.address)
        running = daemon(*arguments, config=config(transport="websockets"))
        connection = session.get()
        before = peak_bytes(running)
        claims = publish(b"edge/wall/claim", b"x" * 16_000) * 500
        with connection.whole:
            connection.send_plain(frame(b"", claimed=2_000_000_000))
            connection.in_frame = True
            for _ in range(10):
                connection.send_plain(claims)
        while not answers(connection):  # one that comes while the mailbox is full is dropped
            connection.send_plain(publish(REQUEST, b'{"transaction": "after"}'))
            wait(answer_or_telemetry(connection), 3 * WAIT_S)
        assert answers(connection)[0]["transaction"] == "after"
        assert peak_bytes(running) < before + MARGIN
        assert broker.connections_total == 1


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_many_long_requests_are_cut_when_they_come(protocol: str, daemon: Start, rgb: Path) -> None:
    """1,000 of 255 KB, faster than they are looked at: each is refused by its length, none kept."""
    session = Session()
    with HandBroker(session.serve) as broker:
        arguments = ("--source", "synthetic", "--model", rgb, "--broker", broker.address)
        running = daemon(*arguments, config=config(protocol, fps=1))
        connection = session.get()
        before = peak_bytes(running)
        properties = b"" if protocol == "5" else None
        long = publish(
            REQUEST,
            b'{"transaction": "long", "x": "' + b"x" * 255_000 + b'"}',
            properties=properties,
        )
        for _ in range(1000):
            connection.send(long)
        wait(lambda: len(answers(connection)) >= 20)
        refused = [
            answer for answer in answers(connection) if "expected at most" in answer["error"]
        ]
        assert refused[0]["error"] == "255032 bytes: expected at most 16384"
        assert refused[0]["transaction"] == "long"
        assert peak_bytes(running) < before + MARGIN
        ping(connection, "after", 3)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_requests_that_are_too_long_do_not_stop_the_broker(
    protocol: str, broker: PrivateBroker, daemon: Start, rgb: Path
) -> None:
    """150 of 300 KB through a real one: refused by their length; the next good one is answered."""
    asker = Asker(broker)
    arguments = ("--source", "synthetic", "--model", rgb, "--broker", broker.address)
    daemon(*arguments, config=config(protocol))
    online(broker)
    assert asker.ask("ping")["status"] == "ok"
    # Of more answers at once the daemon drops what nobody has acknowledged.
    for sent in (50, 100, 150):
        for _ in range(50):
            asker.send("ping", b"x" * 300_000)
        asker.wait_for(sent + 1)
    errors = {answer["error"] for _, answer, _ in asker.answers[1:]}
    assert "300000 bytes: expected at most 16384" in errors
    while asker.ask("ping", {"transaction": "after"})["status"] != "ok":
        assert "too many requests" in asker.answers[-1][1]["error"]
    assert asker.answers[-1][1]["transaction"] == "after"
    asker.close()


def utf8(*characters: str) -> bytes:
    """Return characters as UTF-8, surrogates too."""
    return "".join(characters).encode("utf-8", "surrogatepass")


def pair(name: bytes, value: bytes) -> bytes:
    """Return a user property."""
    return b"\x26" + text(name) + text(value)


NASTY_5 = {
    "byte order mark": publish(REQUEST, b"{", properties=pair(b"a", utf8("\ufeff"))),
    "NUL": publish(REQUEST, b"{", properties=pair(b"a\0", b"")),
    "surrogate": publish(REQUEST, b"{", properties=pair(utf8("\ud800"), b"")),
    "not UTF-8": publish(REQUEST, b"{", properties=pair(b"\xff\xfe", b"\xff")),
    "response topic not UTF-8": publish(REQUEST, b"{", properties=b"\x08" + text(b"\xff")),
    "topic not UTF-8": publish(b"edge/wall/request/\xff\xfe", b"{"),
    "no topic": publish(b"", b"{"),
    "unknown property": publish(REQUEST, b"{", properties=b"\x7f\x00\x01"),
    "property of another packet": publish(REQUEST, b"{", properties=b"\x21\x00\x0a"),
    "property twice": publish(REQUEST, b"{", properties=b"\x01\x01\x01\x01"),
    "property cut": publish(REQUEST, b"{", properties=b"\x26\x00\x09a"),
    "properties beyond the end": packet(0x30, text(REQUEST) + variable(500) + b"{"),
    "length of properties without end": packet(0x30, text(REQUEST) + b"\xff\xff\xff\xff\xff"),
    "forty thousand properties": publish(REQUEST, b"{", properties=pair(b"", b"") * 40_000),
    "subscription 0": publish(REQUEST, b"{", properties=b"\x0b\x00"),
    "QoS 1, cut": publish(REQUEST, b"{", qos=1, mid=7, properties=b"\x26\x00\x09a"),
    "QoS 2": publish(REQUEST, b"{", qos=2, mid=8),
}
NASTY_3 = {
    "topic not UTF-8": publish(b"edge/wall/request/\xff\xfe", b"{", properties=None),
    "no topic": publish(b"", b"{", properties=None),
    "topic of 65,535": publish(b"edge/wall/request/" + b"x" * 65_517, b"{", properties=None),
    "QoS 1, not UTF-8": publish(b"\xff", b"{", qos=1, mid=7, properties=None),
    "retained, not UTF-8": publish(b"\xff", b"{", retain=True, properties=None),
}


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_no_publish_ends_the_connection(protocol: str, daemon: Start, rgb: Path) -> None:
    """Forbidden text, broken properties, no topic: the same connection answers the next request."""
    session = Session()
    with HandBroker(session.serve) as broker:
        arguments = ("--source", "synthetic", "--model", rgb, "--broker", broker.address)
        running = daemon(*arguments, config=config(protocol))
        connection = session.get()
        for number, (name, nasty) in enumerate(
            (NASTY_5 if protocol == "5" else NASTY_3).items(), start=100
        ):
            connection.send(nasty)
            ping(connection, name, number)
        assert 7 in connection.acknowledged
        assert broker.connections_total == 1
        assert "gone" not in running.log.read_text()


WRONG = {
    "no MQTT": b"HTTP/1.1 400 Bad Request\r\n\r\n" + b" " * 100,
    "unknown packet": packet(0xF0, b"\0"),
    "length without end": b"\x30\xff\xff\xff\xff\xff",
    "PUBLISH without a topic": packet(0x30, b"\xff"),
    "PUBLISH of QoS 3": packet(0x36, text(REQUEST) + b"\0\1\0{"),
    "CONNACK again": packet(0x20, b"\0\0\0"),
    "SUBACK that is cut": packet(0x90, b"\0"),
    "PUBACK of nothing": packet(0x40, b""),
    "DISCONNECT with a mark": packet(0xE0, b"\x8b" + section(b"\x1f" + text(utf8("\ufeff")))),
    "DISCONNECT with nothing": packet(0xE0, b""),
    "a long SUBACK": b"\x90" + variable(2_000_000) + b"\0\1\0" + b"\0" * 1_999_997,
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_what_is_not_mqtt_ends_one_connection_and_not_the_client(
    wrong: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """One line says why; the next connection is there soon."""
    connections: list[Connection] = []

    def serve(connection: Connection) -> None:
        connection.greet()
        connections.append(connection)
        if len(connections) == 1:
            connection.send(wrong)
        connection.attend()

    with HandBroker(serve) as broker:
        made = publisher(broker.port)
        made.connect()
        made.until(lambda: broker.connections_total == 2 and made.online)
        made.until(lambda: has(connections[-1], b"availability"))
        made.close(OFFLINE, 0.5)
    assert len([line for line in caplog.messages if "the daemon goes on" in line]) == 1


def publisher(port: int, **more: Any) -> Polled:
    """Return a publisher for a broker on this machine."""
    events = more.pop("events", Spool(None, 1000, 1_000_000))
    made = Broker("127.0.0.1", port, reconnect_s=more.pop("reconnect_s", 1), **more)
    topics = tuple(f"edge/d/{kind}" for kind in ("request/+", "claim", "availability"))
    return Polled(
        made,
        client_id="d",
        will=OFFLINE,
        birth=ONLINE,
        events=events,
        topics=topics,
    )


def test_a_fault_in_the_network_thread_is_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    """A name that no resolver takes raises what paho does not expect: one line, tried again."""
    made = Polled(
        Broker("a" * 64 + ".invalid", 1883, reconnect_s=1),
        client_id="d",
        will=OFFLINE,
        birth=ONLINE,
        events=Spool(None, 10, 100_000),
    )
    made.connect()
    made.until(lambda: "cannot be reached" in caplog.text)
    made.close(OFFLINE, 0.1)


@pytest.mark.parametrize("retain", [True, False])
def test_a_byte_order_mark_in_a_property_mutes_nobody(
    retain: bool, broker: PrivateBroker, daemon: Start, rgb: Path, listen: Callable[[], Listener]
) -> None:
    """On each topic that is read, kept by the broker or not: online, and never gone."""
    asker = Asker(broker)
    topics = ["homeassistant/status", *(f"edge/wall/{k}" for k in ("claim", "availability"))]
    listener = listen()
    arguments = ("--source", "synthetic", "--model", rgb, "--broker", broker.address)

    def spoil() -> None:
        for topic in (*topics, "edge/wall/request/ping"):
            asker.publish(topic, b"?", retain, UserProperty=("a", "\ufeff"))

    if retain:
        spoil()
    running = daemon(*arguments, config=config())
    listener.wait_for(lambda: b"online" in listener.bodies("availability"))
    if not retain:
        spoil()
    asker.send("ping", {"transaction": "a"}, UserProperty=("a", "\ufeff"))
    wait(lambda: any(answer["transaction"] == "a" for _, answer, _ in list(asker.answers)))
    assert asker.ask("stats")["data"]["reconnects_total"] == 0
    assert "gone" not in running.log.read_text()
    asker.close()


@pytest.mark.parametrize(
    ("kind", "protocol"),
    [
        ("availability", "5"),
        ("availability", "3.1.1"),
        ("claim", "5"),
        ("request/ping", "5"),
        ("status", "5"),
    ],
)
def test_a_flood_is_logged_once_and_answered_seldom(
    kind: str, protocol: str, daemon: Start, rgb: Path
) -> None:
    """20,000 messages at once: a few lines of log, an answer a second, and the next is answered."""
    session = Session()
    with HandBroker(session.serve) as broker:
        arguments = ("--source", "synthetic", "--model", rgb, "--broker", broker.address)
        running = daemon(*arguments, config=config(protocol))
        connection = session.get()
        before, written = peak_bytes(running), len(connection.published)
        topic = b"homeassistant/status" if kind == "status" else f"edge/wall/{kind}".encode()
        body = {
            "availability": b"offline",
            "claim": b'{"run": "x", "machine": "m", "settled": false}',
            "request/ping": b"{}",
            "status": b"online",
        }[kind]
        properties = b"" if protocol == "5" else None
        with connection.whole:
            connection.send_plain(publish(topic, body, properties=properties) * 20_000)
        lines = len(running.log.read_text().splitlines())
        wait(lambda: has(connection, b"telemetry", 6))
        came = [topic for topic, _ in connection.published[written:]]
        assert came.count(b"edge/wall/availability") <= 6
        assert came.count(b"homeassistant/device/wall/config") <= 2
        assert came.count(b"edge/wall/claim") <= 250
        assert peak_bytes(running) < before + MARGIN
        new = running.log.read_text().splitlines()[lines:]
        assert len([line for line in new if "->" not in line]) <= 4, new
        assert broker.connections_total == 1
        wait(lambda: len(connection.subscribed) in (4, 5))
        if kind == "request/ping":  # not read for ten seconds
            wait(lambda: len(connection.subscribed) == 5)
        ping(connection, "after", 9)
