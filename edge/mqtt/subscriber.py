"""Messages as they come, for a program that watches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge.errors import PublishError


def subscribe(
    host: str,
    port: int,
    topics: list[str],
    on_message: Callable[[str, bytes], None],
    on_connection: Callable[[str], None],
    *,
    username: str = "",
    password: str = "",
) -> Callable[[], None]:
    """Call ``on_message`` with topic and payload from paho's thread; return what ends it.

    on_connection  called with what is wrong with the connection, or "" when it is there
    Raises PublishError where the broker cannot be reached at first.
    """
    client = paho.Client(CallbackAPIVersion.VERSION2)
    if username:
        client.username_pw_set(username, password)

    def connected(_: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        if reason.is_failure:
            on_connection(f"refused the connection: {reason}")
            return
        client.subscribe([(topic, 1) for topic in topics])
        on_connection("")

    client.on_connect = connected
    client.on_disconnect = lambda *_: on_connection("gone, trying again")
    client.on_message = lambda _, __, message: on_message(message.topic, bytes(message.payload))
    try:
        client.connect(host, port)
    except OSError as exc:
        raise PublishError(
            f"broker cannot be reached: {exc}", where=f"{host}:{port}", mend="check --broker"
        ) from exc
    client.loop_start()

    def end() -> None:
        client.disconnect()
        client.loop_stop()

    return end
