"""Brokers with limits: obeyed if announced, detected if not."""

from __future__ import annotations

import contextlib
import select
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.broker import PrivateBroker
from edge.errors import PublishError
from edge.messages import Broker, Message
from edge.mqtt import clear, packets
from edge.mqtt.limits import Limits, limits
from edge.mqtt.packets import publish_bytes
from edge.mqtt.spool import Spool
from tests.conftest import Daemon, Listener
from tests.hand_broker import Connection, HandBroker
from tests.test_mqtt import OFFLINE, event
from tests.test_mqtt_hostile import has, publisher

Start = Callable[..., Daemon]


@pytest.fixture
def limited() -> Iterator[Callable[..., PrivateBroker]]:
    """Return a function that starts a mosquitto with options."""
    with contextlib.ExitStack() as stack:

        def begin(*options: str) -> PrivateBroker:
            return stack.enter_context(PrivateBroker("allow_anonymous true", *options))

        yield begin


def config(protocol: str) -> str:
    """Return a config."""
    return f'[device]\nid = "wall"\n[mqtt]\nprotocol = "{protocol}"\nreconnect_s = 1\n'


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("most", [1, 10])
def test_no_more_is_in_flight_than_the_broker_takes(
    protocol: str, most: int, limited: Callable[..., PrivateBroker]
) -> None:
    """Receive Maximum 10, or 1, and 200 events waiting: all arrive over one connection."""
    broker = limited(f"max_inflight_messages {most}", "max_queued_messages 1000")
    listener = Listener(broker, "edge/d/#")
    made = publisher(broker.port, protocol=protocol)
    for number in range(200):
        made.publish(event(number))
    made.connect()
    made.till_up()
    listener.wait_for(lambda: len(listener.bodies("event")) == 200)
    assert listener.bodies("event") == [str(number).encode() for number in range(200)]
    assert made.reconnects_total == 0
    made.close(OFFLINE, 1.0)
    listener.close()


@pytest.mark.parametrize("most", [1, 10])
def test_a_broker_that_counts_what_is_in_flight_counts_no_more(most: int) -> None:
    """It acknowledges as late as it may, and hangs up on one message more: it never has to."""
    kicks, events = [0], []

    def serve(connection: Connection) -> None:
        connection.greet(b"\x21" + most.to_bytes(2, "big"))
        waiting: list[bytes] = []
        while len(waiting) <= most:
            if not select.select([connection], [], [], 0.05)[0]:
                for mid in waiting:
                    connection.send(b"\x40\x02" + mid)
                waiting.clear()
                continue
            command, body = connection.read()
            size = int.from_bytes(body[:2], "big")
            if command >> 4 == 3 and command & 6:
                waiting.append(body[2 + size : 4 + size])
                events.append(body[2 : 2 + size] == b"edge/d/event")
        kicks[0] += 1

    with HandBroker(serve) as broker:
        made = publisher(broker.port)
        for number in range(40):
            made.publish(event(number))
        made.connect()
        made.till_up()
        assert sum(events) == 40
        assert kicks == [0]
        made.close(OFFLINE, 0.5)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_message_that_is_too_long_is_set_aside_and_the_rest_goes_on(
    protocol: str, limited: Callable[..., PrivateBroker], daemon: Start, rgb: Path
) -> None:
    """At most 2,000 bytes: no `info`, no discovery, named once; online, events, answers as usual.

    In MQTT 3.1.1 the broker does not say so, but closes the connection.
    """
    broker = limited("max_packet_size 2000")
    listener = Listener(broker, "#")
    running = daemon(
        *("--source", "synthetic", "--model", rgb, "--broker", broker.address),
        config=config(protocol),
    )
    listener.wait_for(lambda: b"online" in listener.bodies("availability"))
    listener.wait_for(lambda: len(listener.bodies("event")) >= 3)
    log = running.log.read_text()
    assert not listener.bodies("info")
    assert not listener.bodies("config")
    assert listener.bodies("state")
    if protocol == "5":
        assert log.count("edge/wall/info") == 1
        assert " bytes: it takes at most 2000" in log
        assert log.count("homeassistant/device/wall/config") == 1
    else:
        assert log.count("closes the connection on edge/wall/info of ") == 1
        assert log.count("closes the connection on homeassistant/device/wall/config of ") == 1
    assert len([line for line in log.splitlines() if "broker" in line]) <= 8, log
    assert running.stop() == 0
    listener.wait_for(lambda: listener.bodies("availability")[-1] == b"offline")
    listener.close()


@pytest.mark.parametrize("less", [0, 1])
@pytest.mark.parametrize("size", [0, 50, 90, 130, 16_000, 20_000])
def test_the_length_of_a_packet_is_exact(size: int, less: int) -> None:
    """Down to the byte, for lengths of one to three bytes: where one is missing it is set aside."""
    made: list[Connection] = []
    message = Message("edge/d/event", b"x" * size, 1, False, 30)
    most = publish_bytes(message.topic, message.payload, 1, 1 + 5 + 5) - less

    def serve(connection: Connection) -> None:
        connection.greet(b"\x27" + most.to_bytes(4, "big"))
        made.append(connection)
        connection.attend()

    with HandBroker(serve) as broker:
        sender = publisher(broker.port)
        sender.connect()
        sender.publish(message)
        sender.until(lambda: sender.online and not sender._outbox.busy)
        assert has(made[0], b"event") is not bool(less)
        assert len(sender._events) == less  # kept: another broker may take it
        sender.close(OFFLINE, 0.2)


@pytest.mark.parametrize("most", [0, 1])
def test_a_lower_qos_is_what_is_used(
    most: int, limited: Callable[..., PrivateBroker], caplog: pytest.LogCaptureFixture
) -> None:
    """Maximum QoS 0: the last will and all messages, said once; events count as delivered."""
    broker = limited(f"max_qos {most}")
    listener = Listener(broker, "edge/d/#")
    made = publisher(broker.port)
    for number in range(30):
        made.publish(event(number))
    made.connect()
    made.till_up()
    listener.wait_for(lambda: len(listener.bodies("event")) == 30)
    assert caplog.text.count("takes QoS 0 only") == (1 - most)
    assert made.unsent_total == 0
    made.close(OFFLINE, 1.0)
    listener.wait_for(lambda: listener.bodies("availability") == [b"online", b"offline"])
    listener.close()


def test_a_broker_that_keeps_nothing_gets_it_unretained_and_again(
    limited: Callable[..., PrivateBroker],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Retain not available: the state and `online` come all the same, and come again."""
    monkeypatch.setattr("edge.mqtt.outbox.REPEAT_S", 0.5)
    broker = limited("retain_available false")
    listener = Listener(broker, "edge/d/#")
    made = publisher(broker.port)
    made.publish(Message("edge/d/state", b"1", 1, True))
    made.publish(event(1))
    made.connect()
    made.until(lambda: len(listener.bodies("state")) >= 2)
    made.until(lambda: listener.bodies("availability")[:2] == [b"online"] * 2)
    assert caplog.text.count("retains no messages") == 1
    assert listener.bodies("event") == [b"1"]
    made.close(OFFLINE, 0.5)
    listener.close()


def test_the_keepalive_that_the_broker_wants_is_kept() -> None:
    """Server Keep Alive 1 instead of the requested 30: PINGREQ follows it."""
    pings: list[int] = []

    def serve(connection: Connection) -> None:
        connection.greet(b"\x13\x00\x01")
        while True:
            command, _ = connection.read()
            if command == 0xC0:
                pings.append(command)
                connection.send(b"\xd0\0")

    with HandBroker(serve) as broker:
        made = publisher(broker.port)
        made.connect()
        made.until(lambda: len(pings) >= 2)
        assert broker.connections_total == 1
        made.close(OFFLINE, 0.1)


def test_a_broker_without_wildcards_is_asked_for_none(caplog: pytest.LogCaptureFixture) -> None:
    """`request/+` is left out, and named; the rest is read."""
    made: list[Connection] = []

    def serve(connection: Connection) -> None:
        connection.greet(b"\x28\x00")
        made.append(connection)
        connection.attend()

    with HandBroker(serve) as broker:
        sender = publisher(broker.port)
        sender.connect()
        sender.until(lambda: bool(made) and has(made[0], b"availability"))
        assert made[0].subscribed == [b"edge/d/claim", b"edge/d/availability"]
        assert caplog.text.count("does not let us read: edge/d/request/+") == 1
        sender.close(OFFLINE, 0.1)


def test_limits_as_no_broker_may_name_them_are_survived() -> None:
    """Receive Maximum 0, Maximum Packet Size 0, cut values: as MQTT has them without."""
    assert limits({}) == Limits()
    assert limits({33: b"\0\0", 39: b"\0\0\0\0", 36: b"", 37: b"\1"}).receive_max == 1
    assert limits({39: b"\0\0\0\0"}).packet_max == Limits().packet_max


def test_a_message_that_the_broker_only_denies_is_named_and_the_rest_goes_on(
    limited: Callable[..., PrivateBroker], daemon: Start, rgb: Path
) -> None:
    """mosquitto's ``message_size_limit`` answers with a reason that is none of PUBACK's."""
    broker = limited("message_size_limit 1500")
    listener = Listener(broker, "#")
    arguments = ("--source", "synthetic", "--model", rgb, "--broker", broker.address)
    running = daemon(*arguments, config=config("5"))
    listener.wait_for(lambda: len(listener.bodies("event")) >= 4)
    log = running.log.read_text()
    assert "online" in listener.payloads("availability")
    assert listener.bodies("state")
    assert not listener.bodies("info")
    assert log.count("connected") == 1, log
    assert log.count("edge/wall/info") == 1, log
    assert listener.payloads("availability").count("online") == 1
    assert running.stop() == 0
    listener.close()


@pytest.mark.parametrize("code", [0x95, 0xFF, 0x80])
def test_any_reason_for_not_taking_a_message_is_one(code: int) -> None:
    """Properties of an acknowledgement may be broken; from 0x80 on it denies, below it takes."""
    for more in (b"", b"\0", b"\xff\xff"):
        plain = packets.acknowledged(packets.PUBACK, bytes([0, 7, code]) + more)
        assert plain == bytes([0, 7, 0x80])
        assert packets.acknowledged(packets.PUBACK, b"\0\7\x01" + more) == b"\0\7\0"
    assert packets.acknowledged(packets.PUBACK, b"\0\7") == b"\0\7"
    subscribed = packets.acknowledged(packets.SUBACK, bytes([0, 7, 0, 1, code, 3]))
    assert subscribed == bytes([0, 7, 0, 1, 0x80, 0])


def test_purge_says_what_the_broker_does_not_let_it_clear(
    limited: Callable[..., PrivateBroker], tmp_path: Path
) -> None:
    """One error line, status 69; nothing is reported as cleared."""
    (tmp_path / "acl").write_text("topic read #\n")
    (tmp_path / "acl").chmod(0o644)
    broker = limited(f"acl_file {tmp_path / 'acl'}")
    denied = Message("edge/old/state", b"{}", 1, True)
    with pytest.raises(PublishError, match="does not let us write: Not authorized"):
        clear(Broker("127.0.0.1", broker.port), [denied.topic])


def test_an_event_that_the_broker_denies_is_set_aside(
    limited: Callable[..., PrivateBroker], tmp_path: Path
) -> None:
    """In the spool's table, for a person; counted once, and not sent again."""
    (tmp_path / "acl").write_text("topic read #\ntopic write edge/d/availability\n")
    (tmp_path / "acl").chmod(0o644)
    broker = limited(f"acl_file {tmp_path / 'acl'}")
    spool = Spool(tmp_path / "spool.db", 10, 100_000)
    made = publisher(broker.port, events=spool)
    made.publish(event(7))
    made.connect()
    made.till_up()
    made.until(lambda: spool.set_aside_total == 1)
    assert (len(spool), made.unsent_total) == (0, 1)
    made.close(OFFLINE, 1.0)
    spool.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "spool.db")) as database:
        kept = database.execute("SELECT payload, reason FROM set_aside").fetchall()
    assert kept == [(b"7", "the broker cannot take it")]
