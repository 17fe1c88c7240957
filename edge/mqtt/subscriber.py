"""Messages as they come, for a program that watches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from edge.errors import PublishError
from edge.frames import Seconds
from edge.messages import Broker, Incoming
from edge.mqtt.access import Access, reason

CLEAR_S: Final = 5.0
"""Longest wait for one acknowledgement."""
WATCHED_MAX: Final = 65_536
"""Bytes of a payload; a state of a thousand labels has 25,000."""
KEPT_MAX: Final = 2000
"""Topics that are looked at."""
KEPT_BYTES: Final = 4_194_304
"""Of all payloads together; of what comes after that only the beginning is kept."""
CUT: Final = 16
QUIET_S: Final = 1.0
"""The broker sends what it keeps at once; after so long without any, that was all."""


def subscribe(
    broker: Broker,
    topics: list[str],
    on_message: Callable[[Incoming], None],
    on_connection: Callable[[str], None],
    client_id: str = "",
) -> Callable[[], None]:
    """Call ``on_message`` with each message from paho's thread; return what ends it.

    on_connection  called with what is wrong with the connection, or "" when it is there
    client_id      empty: the broker makes one
    Payloads longer than WATCHED_MAX come cut. Raises PublishError where the broker cannot be
    reached at first.
    """

    def ended(why: str) -> None:
        if client.on_disconnect is not None:  # else this end is our own
            on_connection(f"gone, trying again{f': {why}' if why else ''}")

    access = Access(broker)
    client = access.client(
        client_id,
        reconnect=True,
        payload_max=WATCHED_MAX,
        on_incoming=on_message,
        on_ended=ended,
    )

    def connected(_: Any, __: Any, ___: Any, code: Any, ____: Any) -> None:
        if code.is_failure:
            on_connection(f"refused the connection: {code}")
            return
        client.subscribe([(topic, 1) for topic in topics])
        on_connection("")

    client.on_connect = connected
    client.on_disconnect = lambda *_: on_connection("gone, trying again")
    try:
        client.connect(**access.connection())
    except (OSError, ValueError) as exc:
        raise PublishError(
            f"broker cannot be reached: {reason(exc)}",
            where=broker.address,
            hint="check --broker",
        ) from exc
    client.loop_start()

    def end() -> None:
        client.on_disconnect = None
        client.disconnect()
        client.loop_stop()

    return end


def kept(
    broker: Broker, topics: list[str], longest_s: Seconds, client_id: str = ""
) -> dict[str, bytes]:
    """Return what the broker keeps on ``topics``, of KEPT_MAX at most. Raises PublishError."""
    found: dict[str, bytes] = {}
    states: list[str] = []
    last_s: list[Seconds] = [0.0]
    room = [KEPT_BYTES]

    def on_message(incoming: Incoming) -> None:
        if len(found) < KEPT_MAX:
            room[0] -= len(incoming.payload)
            found[incoming.topic] = incoming.payload[: None if room[0] >= 0 else CUT]
        last_s[0] = time.monotonic()

    def on_connection(wrong: str) -> None:
        last_s[0] = time.monotonic()
        states[:] = [*states[-8:], wrong]  # after it: the loop below looks at this first

    end = subscribe(broker, topics, on_message, on_connection, client_id)
    until = time.monotonic() + longest_s
    while (now := time.monotonic()) < until and not any(states):
        if states and (now > last_s[0] + QUIET_S or set(topics) <= found.keys()):
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
    client = access.client("")
    denied: list[str] = []

    def on_publish(_: Any, __: Any, ___: Any, code: Any, ____: Any) -> None:
        if code.is_failure:
            denied.append(str(code))

    client.on_publish = on_publish
    try:
        client.connect(**access.connection())
        client.loop_start()
        sent = [client.publish(topic, b"", 1, True) for topic in topics]
        for message in sent:
            message.wait_for_publish(CLEAR_S)
        if not all(message.is_published() for message in sent):
            raise PublishError("did not take all", where=broker.address, hint="try again")
        if denied:
            what = f"does not let us write: {denied[0]}"
            raise PublishError(what, where=broker.address, hint="see the broker's ACL")
    except (OSError, RuntimeError, ValueError) as exc:
        raise PublishError(f"broker: {reason(exc)}", where=broker.address) from exc
    finally:
        client.disconnect()
        client.loop_stop()
