"""Messages as they come, for a program that watches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from paho.mqtt.client import WebsocketConnectionError

from edge.errors import PublishError
from edge.messages import Broker
from edge.mqtt.access import Access, reason

CLEAR_S: Final = 5.0
"""Longest wait for one acknowledgement."""


def subscribe(
    broker: Broker,
    topics: list[str],
    on_message: Callable[[str, bytes], None],
    on_connection: Callable[[str], None],
) -> Callable[[], None]:
    """Call ``on_message`` with topic and payload from paho's thread; return what ends it.

    on_connection  called with what is wrong with the connection, or "" when it is there
    Raises PublishError where the broker cannot be reached at first.
    """
    access = Access(broker)
    client = access.client("", reconnect=True)

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
