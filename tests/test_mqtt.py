"""The connection against a real mosquitto that comes and goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from deploy.broker import PrivateBroker, free_port
from edge import mqtt
from edge.errors import PublishError
from edge.mqtt import Publisher, subscribe
from edge.types import Message
from tests.conftest import WAIT_S, Listener

ONLINE = Message("edge/d/availability", b"online", 1, True)
OFFLINE = Message("edge/d/availability", b"offline", 1, True)


def event(number: int) -> Message:
    """Return an event."""
    return Message("edge/d/event", str(number).encode(), 1, False)


@pytest.fixture
def publisher(broker: PrivateBroker) -> Iterator[Callable[[], Publisher]]:
    """Return a function that begins a publisher."""
    with ExitStack() as stack:

        def begin() -> Publisher:
            made = Publisher(
                broker.host, broker.port, client_id="d", will=OFFLINE, birth=ONLINE, reconnect_s=1
            )
            stack.callback(made.close, OFFLINE, 0.1)
            made.connect()
            return made

        yield begin


def until(condition: Callable[[], bool]) -> None:
    """Wait for paho's thread to bring ``condition`` about."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_outage_loses_no_event_and_keeps_the_newest_state(
    broker: PrivateBroker,
    publisher: Callable[[], Publisher],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Events wait in order; of the state only the newest is sent; QoS 0 is counted as lost."""
    broker.stop()
    made = publisher()
    for number in range(5):
        made.publish(event(number))
        made.publish(Message("edge/d/state", str(number).encode(), 1, True))
    made.publish(Message("edge/d/telemetry", b"{}", 0, False))
    assert made.unsent_total == 1
    listener = None
    # The subscriber must be there before the publisher is: it holds no message back.
    monkeypatch.setattr(made._client, "_reconnect_delay", 3.0, raising=False)
    broker.start()
    listener = Listener(broker)
    until(lambda: made.online)
    listener.wait_for(lambda: "availability" in [kind for kind, _, _ in listener.messages])
    kinds = [kind for kind, _, _ in listener.messages]
    assert [body for kind, body, _ in listener.messages if kind == "state"] == [b"4"]
    assert kinds[-1] == "availability"
    listener.close()


def test_a_full_queue_drops_the_oldest_and_counts(
    broker: PrivateBroker, publisher: Callable[[], Publisher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounded: of five events with room for three, the last three are sent."""
    monkeypatch.setattr(mqtt, "QUEUED", 3)
    made = publisher()
    until(lambda: made.online)
    broker.stop()
    until(lambda: not made.online)
    for number in range(5):
        made.publish(event(number))
    assert made.unsent_total == 2
    assert [message.payload for message in made._events] == [b"2", b"3", b"4"]
    broker.start()
    until(lambda: made.online)
    assert not made._events
    assert made.reconnects_total == 1


def test_close_says_offline_and_waits_for_it(
    broker: PrivateBroker, publisher: Callable[[], Publisher]
) -> None:
    """The broker has the farewell when close returns."""
    listener = Listener(broker)
    made = publisher()
    listener.wait_for(lambda: len(listener.messages) == 1)
    made.close(OFFLINE, 5.0)
    listener.wait_for(lambda: [body for _, body, _ in listener.messages] == [b"online", b"offline"])
    listener.close()


def test_close_without_a_broker_does_not_wait(
    broker: PrivateBroker, publisher: Callable[[], Publisher]
) -> None:
    """Nobody to say it to."""
    broker.stop()
    publisher().close(OFFLINE, 60.0)


def test_a_subscriber_without_a_broker_is_one_line() -> None:
    """`edge watch` names the address and the mend."""
    port = free_port()
    with pytest.raises(PublishError, match=f"127.0.0.1:{port}: broker cannot be reached") as caught:
        subscribe("127.0.0.1", port, ["#"], lambda *_: None, lambda _: None)
    assert caught.value.exit_status == 69
