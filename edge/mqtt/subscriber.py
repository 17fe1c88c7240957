"""Messages as they come, for a program that watches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from paho.mqtt.client import WebsocketConnectionError

from edge.errors import PublishError
from edge.messages import Broker
from edge.mqtt.access import Access, reason
from edge.types import Seconds

CLEAR_S: Final = 5.0
"""Longest wait for one acknowledgement."""
QUIET_S: Final = 1.0
"""The broker sends what it keeps at once; after so long without any, that was all."""


def subscribe(
    broker: Broker,
    topics: list[str],
    on_message: Callable[[str, bytes], None],
    on_connection: Callable[[str], None],
    client_id: str = "",
) -> Callable[[], None]:
    """Call ``on_message`` with topic and payload from paho's thread; return what ends it.

    on_connection  called with what is wrong with the connection, or "" when it is there
    client_id      empty: the broker makes one
    Raises PublishError where the broker cannot be reached at first.
    """
    access = Access(broker)
    client = access.client(client_id, reconnect=True)

    def connected(_: Any, __: Any, ___: Any, code: Any, ____: Any) -> None:
        if code.is_failure:
            on_connection(f"refused the connection: {code}")
            return
        client.subscribe([(topic, 1) for topic in topics])
        on_connection("")

    client.on_connect = connected
    client.on_disconnect = lambda *_: on_connection("gone, trying again")
    client.on_message = lambda _, __, message: on_message(message.topic, bytes(message.payload))
    try:
        client.connect(**access.connection())
    except (OSError, WebsocketConnectionError) as exc:
        raise PublishError(
            f"broker cannot be reached: {reason(exc)}",
            where=broker.address,
            mend="check --broker",
        ) from exc
    client.loop_start()

    def end() -> None:
        client.on_disconnect = None  # this end is our own
        client.disconnect()
        client.loop_stop()

    return end


def kept(
    broker: Broker, topics: list[str], longest_s: Seconds, client_id: str = ""
) -> dict[str, bytes]:
    """Return what the broker keeps on ``topics``. Raises PublishError."""
    found: dict[str, bytes] = {}
    states: list[str] = []
    last_s: list[Seconds] = []

    def on_message(topic: str, payload: bytes) -> None:
        found[topic] = payload
        last_s.append(time.monotonic())

    def on_connection(wrong: str) -> None:
        last_s.append(time.monotonic())
        states.append(wrong)  # after it: the loop below looks at this first

    end = subscribe(broker, topics, on_message, on_connection, client_id)
    until = time.monotonic() + longest_s
    while (now := time.monotonic()) < until and not any(states):
        if states and (now > last_s[-1] + QUIET_S or set(topics) <= found.keys()):
            break
        time.sleep(0.02)
    end()
    if not states or any(states):
        what = next(filter(None, states), f"no answer in {longest_s:g} s")
        raise PublishError(what, where=broker.address)
    return found


def clear(broker: Broker, topics: list[str]) -> None:
    """Make the broker forget what it keeps on ``topics``. Raises PublishError."""
    access = Access(broker)
    client = access.client("", reconnect=False)
    try:
        client.connect(**access.connection())
        client.loop_start()
        sent = [client.publish(topic, b"", 1, True) for topic in topics]
        for message in sent:
            message.wait_for_publish(CLEAR_S)
        if not all(message.is_published() for message in sent):
            raise PublishError("did not take all", where=broker.address, mend="try again")
    except (OSError, RuntimeError, ValueError) as exc:
        raise PublishError(f"broker: {reason(exc)}", where=broker.address) from exc
    finally:
        client.disconnect()
        client.loop_stop()
