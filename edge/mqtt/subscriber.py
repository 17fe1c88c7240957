"""Incoming messages for `edge watch`; retained messages, read and cleared.

[1] Callbacks run on paho's thread, all else on the caller's. ``on_message`` and ``on_connection``
    of ``subscribe`` are called on paho's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from edge.errors import PublishError
from edge.messages import Broker, Incoming, Seconds
from edge.mqtt.access import Access, reason

CLEAR_S: Final = 5.0
"""Longest wait for one acknowledgement."""
WATCHED_MAX: Final = 65_536
"""Bytes of a payload; a state of a thousand labels has 25,000."""
KEPT_MAX: Final = 2000
"""Most retained topics read."""
KEPT_BYTES: Final = 4_194_304
"""Of all payloads together; of further ones only CUT bytes are kept."""
CUT: Final = 16
QUIET_S: Final = 1.0
"""The broker sends retained messages at once; after so long without one, all have come."""


def subscribe(
    broker: Broker,
    topics: list[str],
    on_message: Callable[[Incoming], None],
    on_connection: Callable[[str], None],
    client_id: str = "",
) -> Callable[[], None]:
    """Call ``on_message`` with each message [1]; return the function that ends it.

    on_connection  called with the fault of the connection, "" once it is up [1]
    client_id      empty: the broker chooses one
    Payloads longer than WATCHED_MAX are cut. Raises PublishError if the first connection fails.
    """

    def ended(why: str) -> None:
        if client.on_disconnect is not None:  # [2]
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
        client.on_disconnect = None  # [2] paho's thread reports no end that we want
        client.disconnect()
        client.loop_stop()  # joins paho's thread: no callback runs after this

    return end


def kept(
    broker: Broker, topics: list[str], longest_s: Seconds, client_id: str = ""
) -> dict[str, bytes]:
    """Return the retained payloads on ``topics``, KEPT_MAX at most. Raises PublishError.

    [3] paho's thread fills ``payloads``, ``states`` and ``last_s``; each access is atomic, and the
    caller reads ``payloads`` whole only after the thread has ended.
    """
    payloads: dict[str, bytes] = {}
    states: list[str] = []
    last_s: list[Seconds] = [0.0]
    room = [KEPT_BYTES]

    def on_message(incoming: Incoming) -> None:  # [3]
        if len(payloads) < KEPT_MAX:
            room[0] -= len(incoming.payload)
            payloads[incoming.topic] = incoming.payload[: None if room[0] >= 0 else CUT]
        last_s[0] = time.monotonic()

    def on_connection(fault: str) -> None:  # [3]
        last_s[0] = time.monotonic()
        states[:] = [*states[-8:], fault]  # last: the loop below reads it first

    end = subscribe(broker, topics, on_message, on_connection, client_id)
    until = time.monotonic() + longest_s
    while (now := time.monotonic()) < until and not any(states):
        if states and (now > last_s[0] + QUIET_S or set(topics) <= payloads.keys()):
            break
        time.sleep(0.02)
    end()
    if not states or any(states):
        what = next(filter(None, states), f"no answer in {longest_s:g} s")
        raise PublishError(what, where=broker.address)
    return payloads


def clear(broker: Broker, topics: list[str]) -> None:
    """Remove the retained messages on ``topics``. Raises PublishError."""
    access = Access(broker)
    client = access.client("")
    denied: list[str] = []  # filled by paho's thread before it reports a message as published

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
            raise PublishError("did not acknowledge all", where=broker.address, hint="try again")
        if denied:
            what = f"does not let us write: {denied[0]}"
            raise PublishError(what, where=broker.address, hint="see the broker's ACL")
    except (OSError, RuntimeError, ValueError) as exc:
        raise PublishError(f"broker: {reason(exc)}", where=broker.address) from exc
    finally:
        client.disconnect()
        client.loop_stop()
