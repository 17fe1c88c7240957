"""The connection against a real mosquitto that comes and goes."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from deploy.broker import PrivateBroker, free_port
from edge.errors import PublishError
from edge.messages import Broker, Message
from edge.mqtt import Publisher, lifecycle, subscribe
from edge.mqtt import outbox as sending
from edge.mqtt.spool import Spool
from tests.conftest import WAIT_S, Listener
from tests.hand_broker import Connection

ONLINE = Message("edge/d/availability", b"online", 1, True)
OFFLINE = Message("edge/d/availability", b"offline", 1, True)


def event(number: int) -> Message:
    """Return an event."""
    return Message("edge/d/event", str(number).encode(), 1, False)


def state(number: int) -> Message:
    """Return a state."""
    return Message("edge/d/state", str(number).encode(), 1, True)


RESULT = Message("edge/d/result", b"{}", 0, False)


class Polled(Publisher):
    """A publisher, and the part of the daemon's loop that it needs."""

    def until(self, condition: Callable[[], bool]) -> None:
        """Poll until ``condition`` holds."""
        end = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.002)  # as often as frames might come
            self.poll()

    def till_up(self) -> None:
        """Poll until the broker is there and has everything."""
        self.until(lambda: self.online and not self._events and not self._outbox.flying)


@pytest.fixture
def publisher(broker: PrivateBroker) -> Iterator[Callable[[], Polled]]:
    """Return a function that begins a publisher."""
    with ExitStack() as stack:

        def begin(events_max: int = 1000) -> Polled:
            made = Polled(
                Broker(broker.host, broker.port, reconnect_s=1),
                client_id="d",
                will=OFFLINE,
                birth=ONLINE,
                events=Spool(None, events_max, 1_000_000),
            )
            stack.callback(made.close, OFFLINE, 0.1)
            made.connect()
            return made

        yield begin


def retained(broker: PrivateBroker) -> dict[str, bytes]:
    """Return the retained messages that a new subscriber gets."""
    listener = Listener(broker)
    listener.wait_for(lambda: "availability" in [kind for kind, _, _ in listener.messages])
    listener.close()
    return {kind: body for kind, body, kept in listener.messages if kept}


@contextlib.contextmanager
def frozen(broker: PrivateBroker) -> Iterator[None]:
    """The broker's process is stopped, as behind an unplugged cable."""
    broker.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        broker.signal(signal.SIGCONT)


def test_events_of_an_outage_come_once_in_order_and_only_the_newest_state(
    broker: PrivateBroker, publisher: Callable[[], Polled]
) -> None:
    """A subscriber whose session outlives the broker gets each event once; QoS 0 is counted."""
    made = publisher()
    made.till_up()
    broker.stop()
    made.until(lambda: not made.online)
    for number in range(50):
        made.publish(event(number))
        made.publish(state(number))
    made.publish(RESULT)
    assert made.unsent_total == 1
    broker.start()
    listener = Listener(broker)
    made.till_up()
    listener.wait_for(lambda: len(listener.bodies("event")) >= 50)
    events = listener.bodies("event")
    assert events == [str(number).encode() for number in range(50)]
    assert set(listener.bodies("state")) == {b"49"}
    assert made.reconnects_total == 1
    listener.close()


def test_what_a_dead_connection_held_is_sent_again_but_never_an_old_state(
    broker: PrivateBroker, publisher: Callable[[], Polled]
) -> None:
    """The broker dies with unacknowledged messages: events again, and the newest state last."""
    made = publisher()
    made.till_up()
    broker.signal(signal.SIGSTOP)
    made.publish(state(1))
    made.publish(event(1))
    broker.signal(signal.SIGKILL)
    broker.stop()
    made.until(lambda: not made.online)
    made.publish(state(2))
    broker.start()
    listener = Listener(broker)
    made.till_up()
    listener.wait_for(lambda: len(listener.messages) >= 3)
    assert listener.bodies("event") == [b"1"]
    assert retained(broker) == {"state": b"2", "availability": b"online"}
    listener.close()


def test_little_is_handed_to_a_connection_that_has_died_unnoticed(
    broker: PrivateBroker, publisher: Callable[[], Polled]
) -> None:
    """Twenty events, one state, and what the kernel's buffer takes; the rest waits or counts."""
    made = publisher()
    made.till_up()
    listener = Listener(broker)
    large = Message("edge/d/result", b"x" * 100_000, 0, False)
    with frozen(broker):
        for number in range(300):
            made.publish(event(number))
            made.publish(state(number))
            made.publish(large)
        assert len(made._outbox.flying) <= sending.IN_FLIGHT + 1
        assert len(made._outbox.loose) <= sending.UNWRITTEN
        dropped = made.unsent_total
        assert dropped > 0
    made.till_up()
    made.until(lambda: not made._outbox.loose)
    listener.wait_for(lambda: len(listener.bodies("event")) == 300)
    states = listener.bodies("state")
    assert states[-1] == b"299"
    assert len(states) < 10
    listener.wait_for(lambda: len(listener.bodies("result")) == 300 - dropped)
    listener.close()


def test_a_full_queue_drops_the_oldest_and_counts(
    broker: PrivateBroker, publisher: Callable[..., Polled]
) -> None:
    """Bounded: of five events with room for three, the last three are sent."""
    made = publisher(events_max=3)
    made.till_up()
    broker.stop()
    made.until(lambda: not made.online)
    for number in range(5):
        made.publish(event(number))
    assert made.unsent_total == 2
    broker.start()
    listener = Listener(broker)
    made.till_up()
    listener.wait_for(lambda: len(listener.bodies("event")) == 3)
    assert listener.bodies("event") == [b"2", b"3", b"4"]
    listener.close()


def test_close_says_offline_and_waits_for_it(
    broker: PrivateBroker, publisher: Callable[[], Polled]
) -> None:
    """The broker has the farewell when close returns, and that is as soon as it has it."""
    listener = Listener(broker)
    made = publisher()
    made.till_up()
    begin = time.monotonic()
    made.close(OFFLINE, 60.0)
    assert time.monotonic() - begin < 30.0
    listener.wait_for(lambda: [body for _, body, _ in listener.messages] == [b"online", b"offline"])
    listener.close()


def test_what_was_published_just_before_the_end_arrives(
    broker: PrivateBroker, publisher: Callable[[], Polled]
) -> None:
    """A run shorter than the broker's answer: state, events and farewell are delivered."""
    listener = Listener(broker)
    with frozen(broker):
        made = publisher()
        for number in range(30):
            made.publish(event(number))
        made.publish(state(1))
    made.close(OFFLINE, 2 * WAIT_S)
    assert made.unsent_total == 0
    listener.wait_for(lambda: len(listener.messages) >= 33)
    assert listener.bodies("event")[-1] == b"29"
    assert retained(broker) == {"state": b"1", "availability": b"offline"}
    listener.close()


def test_close_says_what_was_not_delivered(
    broker: PrivateBroker, publisher: Callable[[], Polled], caplog: pytest.LogCaptureFixture
) -> None:
    """A broker that never answers gets its second; then the log says what is lost."""
    with frozen(broker):
        made = publisher()
        made.publish(event(1))
        made.close(OFFLINE, 0.2)
    assert made.unsent_total == 1
    assert "1 messages were not delivered" in caplog.text


def test_close_without_a_broker_does_not_wait(
    broker: PrivateBroker, publisher: Callable[[], Polled], caplog: pytest.LogCaptureFixture
) -> None:
    """No farewell is possible; the log has said once that the broker is away, and why."""
    broker.stop()
    made = publisher()
    made.until(lambda: "cannot be reached: [Errno 111] Connection refused" in caplog.text)
    begin = time.monotonic()
    made.close(OFFLINE, 60.0)
    assert time.monotonic() - begin < 25.0


def test_a_connection_that_has_ended_leaves_nothing_to_the_garbage_collector(
    broker: PrivateBroker, publisher: Callable[[], Polled]
) -> None:
    """Client, thread and descriptors go with it, however seldom the collector runs."""
    gc.disable()
    try:
        made = publisher()
        made.till_up()
        assert made._link._session is not None
        client = weakref.ref(made._link._session.client)
        broker.stop()
        made.until(lambda: client() is None)
    finally:
        gc.enable()


@contextlib.contextmanager
def no_more_descriptors() -> Iterator[None]:
    """The process can open nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_connection_that_the_system_has_no_means_for_is_tried_again(
    broker: PrivateBroker, publisher: Callable[[], Polled], caplog: pytest.LogCaptureFixture
) -> None:
    """No file descriptor left: one line, and the daemon's loop goes on."""
    with no_more_descriptors():
        made = publisher()
        made.poll()
    assert "cannot be reached: [Errno 24] Too many open files; the daemon goes on" in caplog.text
    made.till_up()


def test_a_subscriber_without_a_broker_is_one_line() -> None:
    """`edge watch` names the address and the hint."""
    port = free_port()
    with pytest.raises(PublishError, match=f"127.0.0.1:{port}: broker cannot be reached") as caught:
        subscribe(Broker("127.0.0.1", port), ["#"], lambda *_: None, lambda _: None)
    assert caught.value.exit_status == 69


def test_a_broker_that_accepts_and_says_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TCP answers, MQTT does not: logged, and tried again."""
    monkeypatch.setattr(lifecycle, "ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        made = Polled(
            Broker("127.0.0.1", silent.getsockname()[1], reconnect_s=1),
            client_id="d",
            will=OFFLINE,
            birth=ONLINE,
            events=Spool(None, 10, 100_000),
        )
        made.connect()
        silent.settimeout(WAIT_S)
        first, _ = silent.accept()
        made.until(lambda: not made._link.connecting)
        end = time.monotonic() + WAIT_S
        silent.setblocking(False)
        second = None
        while second is None:
            assert time.monotonic() < end
            made.poll()
            with contextlib.suppress(BlockingIOError):
                second, _ = silent.accept()
            time.sleep(0.01)
        first.close()
        second.close()
        made.close(OFFLINE, 0.1)


@pytest.mark.parametrize("end", ["no answer", "closed"])
def test_a_connection_that_is_given_up_while_it_is_made_sends_no_connect(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handshake ends too late: the name at the broker belongs to the next connection."""
    if end == "no answer":
        monkeypatch.setattr(lifecycle, "ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = Polled(
            Broker("127.0.0.1", server.getsockname()[1], transport="websockets", reconnect_s=60),
            client_id="d",
            will=OFFLINE,
            birth=ONLINE,
            events=Spool(None, 10, 100_000),
        )
        made.connect()
        server.settimeout(WAIT_S)
        plain, _ = server.accept()
        plain.settimeout(WAIT_S)
        with plain:
            if end == "closed":
                made.close(OFFLINE, 0.1)
            made.until(lambda: not made._link.connecting)
            connection = Connection(plain, websocket=True)
            with pytest.raises(EOFError):
                connection.read()
        made.close(OFFLINE, 0.1)


@pytest.mark.parametrize("answer", [b"\x20\x03\x00\x84\x00", b"\x20\x02\x00\x01"])
def test_a_broker_that_is_too_old_for_mqtt_5_is_told_how_to_be_met(
    answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It refuses the protocol's version, in the new form of the answer or in the old one."""
    with socket.create_server(("127.0.0.1", 0)) as old:
        made = Polled(
            Broker("127.0.0.1", old.getsockname()[1]),
            client_id="d",
            will=OFFLINE,
            birth=ONLINE,
            events=Spool(None, 10, 100_000),
        )
        made.connect()
        old.settimeout(WAIT_S)
        connection, _ = old.accept()
        connection.recv(4096)
        connection.sendall(answer)
        made.until(lambda: not made._link.connecting)
        connection.close()
        made.close(OFFLINE, 0.1)
    assert 'set mqtt.protocol = "3.1.1"' in caplog.text
