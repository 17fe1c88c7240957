"""Brokers that hang up: the cause is found, and little is logged."""

from __future__ import annotations

import logging
import os
import resource
import signal
import threading
import time
from collections.abc import Callable

import pytest

from deploy.broker import PrivateBroker
from edge.messages import Message
from edge.mqtt.outage import Outage
from edge.mqtt.suspects import ASIDE_S, ROW, SHORT_S, Suspects
from tests.conftest import WAIT_S, Listener
from tests.hand_broker import SUBSCRIBE, VERSION_5, Connection, HandBroker, packet
from tests.test_mqtt import OFFLINE, RESULT, event, state
from tests.test_mqtt_hostile import has, publisher

SUBACK = 9


class Touchy:
    """Hangs up on every packet that ``on`` names."""

    def __init__(self, on: Callable[[int, bytes], bool]) -> None:
        self._on = on
        self.connections: list[Connection] = []

    def serve(self, connection: Connection) -> None:
        """Attend, and check every packet first."""
        connection.greet()
        self.connections.append(connection)
        read = connection.read

        def checked() -> tuple[int, bytes]:
            command, body = read()
            if self._on(command, body):
                raise EOFError
            return command, body

        connection.read = checked  # type: ignore[method-assign]
        connection.attend()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr("random.uniform", lambda *_: 0.05)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("kind", ["state", "event", "availability", "claim"])
def test_a_message_that_it_hangs_up_on_is_set_aside(
    kind: str, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One topic, whichever: named once; everything else arrives, over a connection that stays."""
    touchy = Touchy(lambda command, body: command >> 4 == 3 and f"edge/d/{kind}".encode() in body)
    with HandBroker(touchy.serve) as broker:
        made = publisher(broker.port, protocol=protocol)
        made._claim = lambda _: Message("edge/d/claim", b"{}", 1, False)
        made.publish(state(1))
        for number in range(5):
            made.publish(event(number))
        made.connect()
        made.until(lambda: f"closes the connection on edge/d/{kind}" in caplog.text)
        left = 5 if kind == "event" else 0
        made.until(lambda: made.online and len(made._events) == left and not made._outbox.busy)
        others = {"state", "event", "availability", "claim"} - {kind}
        made.until(lambda: all(has(touchy.connections[-1], k.encode()) for k in others))
        assert broker.connections_total <= 2 * ROW + 1
        assert caplog.text.count(f"closes the connection on edge/d/{kind}") in (1, 2)
        assert len(caplog.messages) <= 8, caplog.messages
        made.close(OFFLINE, 0.5)


def test_a_message_of_qos_0_that_it_hangs_up_on_is_set_aside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Results, which nothing acknowledges."""
    touchy = Touchy(lambda command, body: command >> 4 == 3 and b"edge/d/result" in body)
    with HandBroker(touchy.serve) as broker:
        made = publisher(broker.port)
        made.publish(state(1))
        made.connect()

        def found() -> bool:
            made.publish(RESULT)
            return "closes the connection on edge/d/result" in caplog.text

        made.until(found)
        made.until(lambda: made.online and bool(touchy.connections))
        made.until(lambda: has(touchy.connections[-1], b"availability"))
        connections = broker.connections_total
        unsent = made.unsent_total
        for _ in range(10):
            made.publish(RESULT)
        assert made.unsent_total == unsent + 10
        assert broker.connections_total == connections
        made.close(OFFLINE, 0.5)


def test_a_subscription_that_it_hangs_up_on_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """The others are made, everything is published."""
    touchy = Touchy(lambda command, body: command >> 4 == 8 and b"edge/d/claim" in body)
    with HandBroker(touchy.serve) as broker:
        made = publisher(broker.port)
        made.publish(state(1))
        made.connect()
        made.until(lambda: "closes the connection on subscription edge/d/claim" in caplog.text)
        made.until(lambda: bool(touchy.connections) and has(touchy.connections[-1], b"state"))
        made.until(lambda: len(touchy.connections[-1].subscribed) == 2)
        made.close(OFFLINE, 0.5)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_subscription_that_it_refuses_before_it_hangs_up_is_left_out(
    protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As RabbitMQ does with one that is not allowed: the device is online, everything arrives."""

    def serve(connection: Connection) -> None:
        connection.greet()
        read = connection.read

        def checked() -> tuple[int, bytes]:
            command, body = read()
            if command >> 4 == SUBSCRIBE and b"edge/d/claim" in body:
                none = b"\0" if connection.version == VERSION_5 else b""
                connection.send(packet(SUBACK << 4, body[:2] + none + b"\x87"))
                raise EOFError
            return command, body

        connection.read = checked  # type: ignore[method-assign]
        connections.append(connection)
        connection.attend()

    connections: list[Connection] = []
    with HandBroker(serve) as broker:
        made = publisher(broker.port, protocol=protocol)
        made.publish(state(1))
        made.connect()
        made.until(lambda: "closes the connection on subscription edge/d/claim" in caplog.text)
        made.until(lambda: made.online and has(connections[-1], b"state"))
        assert broker.connections_total == ROW + 1
        assert "does not let us read: edge/d/claim" in caplog.text
        made.close(OFFLINE, 0.5)


def test_a_broker_that_was_away_or_stayed_is_suspected_of_nothing() -> None:
    """Ends after a minute, ends with nothing underway, ends at ever other messages."""
    made = Suspects()
    for number in range(20):
        made.up(100.0 * number)
        made.sent(1, "a", 5, True, 100.0 * number)
        made.tick(100.0 * number + SHORT_S)
        assert made.down(100.0 * number + SHORT_S) is None
    made = Suspects()
    for number in range(20):
        made.up(float(number))
        made.sent(1, f"topic {number}", 5, True, float(number))
        assert made.down(float(number)) is None
        assert not made.careful


def test_a_broker_that_says_why_it_ends_suspects_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Ten times "server shutting down" with a message underway."""
    calls: list[Connection] = []

    def serve(connection: Connection) -> None:
        calls.append(connection)
        connection.greet()
        if len(calls) < 10:
            while connection.read()[0] >> 4 != 3:
                pass
            connection.send(b"\xe0\x01\x8b")
        connection.attend()

    with HandBroker(serve) as broker:
        made = publisher(broker.port)
        made.publish(state(1))
        made.connect()
        made.until(lambda: len(calls) == 10 and has(calls[-1], b"availability"))
        assert has(calls[-1], b"state")
        assert not made._link.careful
        assert "closes the connection" not in caplog.text
        made.close(OFFLINE, 0.5)


def test_what_was_set_aside_is_tried_again_later() -> None:
    """From its length on at first, the whole topic the second time; for twice as long."""
    made = Suspects()

    def end(now: float, size: int) -> None:
        for _ in range(ROW):
            made.up(now)
            made.sent(1, "a", size, True, now)
            found = made.down(now)
        assert found == ("a", size)

    end(0.0, 100)
    assert made.aside("a", 100, 1.0)
    assert not made.aside("a", 99, 1.0)
    assert not made.aside("b", 100, 1.0)
    end(1.0, 50)
    assert made.aside("a", 1, 2.0)
    assert made.aside("a", 1, 1.0 + 2 * ASIDE_S - 1)
    assert not made.aside("a", 1, 1.0 + 2 * ASIDE_S)


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines of an outage."""
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.INFO]


@pytest.mark.parametrize("after", ["CONNACK", "SUBSCRIBE", "nothing"])
def test_an_outage_is_logged_once_however_it_ends(
    after: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker hangs up ten times, then refuses, then stays: a line a reason, one at the end."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("edge.mqtt.outage.STAYS_S", 0.3)
    calls: list[Connection] = []

    def serve(connection: Connection) -> None:
        calls.append(connection)
        if len(calls) == 1 or len(calls) > 14:
            connection.greet()
            connection.attend(lambda: len(calls) == 1 and has(connection, b"availability"))
        elif len(calls) > 11:
            connection.greet(code=0x88)  # server unavailable
        elif after != "nothing":
            connection.greet()
            if after == "SUBSCRIBE":
                connection.read()

    with HandBroker(serve) as broker:
        made = publisher(broker.port)
        made.connect()
        made.until(lambda: "connected again" in caplog.text)
        made.close(OFFLINE, 0.5)
    lines = [line for line in logged(caplog) if "broker" in line]
    assert lines[0].endswith(": connected")
    found = [line for line in lines if "closes the connection on" in line]
    # After CONNACK a SUBSCRIBE may be on its way before the end is noticed.
    assert len(found) in {"SUBSCRIBE": (1, 2), "CONNACK": (0, 1, 2)}.get(after, (0,))
    reasons = len([line for line in lines if "the daemon goes on" in line]) - len(found)
    assert reasons == (3 if after == "nothing" else 2), lines
    assert lines[-1].endswith("failures")
    assert len(lines) == 2 + reasons + len(found), lines


def test_a_connection_that_is_half_open_is_noticed_and_costs_no_event(
    broker: PrivateBroker, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker's process stands still: gone after 1.5 keepalives; then every event comes."""
    listener = Listener(broker)
    made = publisher(broker.port, keepalive_s=2)
    made.connect()
    made.till_up()
    broker.signal(signal.SIGSTOP)
    try:
        for number in range(30):
            made.publish(event(number))
        made.until(lambda: not made.online)
        assert "silent for 3 s" in caplog.text
    finally:
        broker.signal(signal.SIGCONT)
    made.till_up()
    listener.wait_for(lambda: set(listener.bodies("event")) >= {b"0", b"29"})
    assert {int(body) for body in listener.bodies("event")} == set(range(30))
    made.close(OFFLINE, 0.5)
    listener.close()


def test_what_was_set_aside_goes_once_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """State, events, a subscription: without a new connection, each event once."""
    for name in ("outbox.LATER_S", "subscriptions.LATER_S", "suspects.ASIDE_S"):
        monkeypatch.setattr(f"edge.mqtt.{name}", 0.5)
    angry = [True]
    touchy = Touchy(lambda command, body: angry[0] and command >> 4 == 3 and b"/event" in body)
    with HandBroker(touchy.serve) as broker:
        made = publisher(broker.port)
        for number in range(30):
            made.publish(event(number))
        made.connect()
        made.until(lambda: made.online and not made._outbox.busy)
        angry[0] = False
        made.until(lambda: not made._events)
        assert broker.connections_total == ROW + 1
        events = [body for topic, body in touchy.connections[-1].published if b"event" in topic]
        assert events == [str(number).encode() for number in range(30)]
        made.close(OFFLINE, 0.5)


@pytest.mark.long
def test_three_hundred_reconnects_cost_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Descriptors, threads and memory are after 300 what they were after 30; and so is the log."""

    def serve(connection: Connection) -> None:
        connection.greet()
        connection.attend(lambda: has(connection, b"availability"))

    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    with HandBroker(serve) as broker:
        made = publisher(broker.port)
        made.publish(state(1))
        made.connect()
        made.until(lambda: made.reconnects_total >= 30)
        fds, threads = held()
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        end = time.monotonic() + 3 * WAIT_S
        while made.reconnects_total < 300:
            assert time.monotonic() < end
            made.poll()
            time.sleep(0.005)
        made.close(OFFLINE, 0.5)
    now_fds, now_threads = held()
    assert now_fds <= fds + 10  # of connections that are being made or given up
    assert now_threads <= threads + 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before_kb + 6_000
    assert len(caplog.messages) <= 5, caplog.messages


def test_a_connection_that_comes_and_goes_is_one_outage(caplog: pytest.LogCaptureFixture) -> None:
    """Every half minute for two hours: some lines, not two each time; the last says it is back."""
    caplog.set_level(logging.INFO)
    outage, now = Outage("b:1883"), 0.0
    outage.up(now)
    while now < 7200:
        outage.failed("gone", now)
        outage.up(now + 1)
        for second in range(2, 31):
            outage.tick(now + second)
        now += 30
    assert len(caplog.messages) < 16
    outage.tick(now + 600)
    assert "connected again" in caplog.messages[-1]
