"""The local socket as what `edge watch` shows: one device, with or without a broker.

One thread: messages are read when the screen asks for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge.errors import LocalError
from edge.frames import Seconds
from edge.local import LocalClient
from edge.messages import Incoming

AGAIN_S: Final = 1.0
"""Between two tries to connect."""


class LocalMessages:
    """The messages of one daemon; when it has gone, it is connected again once it is back.

    base           what the topics that are made begin with
    on_connection  called with the fault of the connection, "" once it is up
    Raises LocalError where there is no daemon at first.
    """

    dropped_total = 0
    """None: what is not read waits at the daemon, which ends the connection in the end."""

    def __init__(self, path: Path, base: str, on_connection: Callable[[str], None]) -> None:
        self._path, self._base, self._on_connection = path, base, on_connection
        self._device = "local"
        self._again_s: Seconds = 0.0
        self._client: LocalClient | None = LocalClient(path)

    def take(self) -> Incoming | None:
        """Return the next message as MQTT would have it; None if there is none now."""
        if self._client is None and not self._connected():
            return None
        assert self._client is not None
        try:
            message = self._client.receive(0.0)
        except LocalError as exc:
            return self._gone(exc)
        if message is None:
            return None
        payload = message.payload
        try:
            if message.topic == "info":
                self._device = str(message.body()["device"])
            if message.topic == "availability":  # plain text on MQTT
                payload = str(message.body()).encode()
        except (ValueError, LookupError, TypeError, RecursionError):  # no daemon of this kind
            return None
        topic = f"{self._base}/{self._device}/{message.topic}"
        return Incoming(topic, payload, message.retained)

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()

    def _connected(self) -> bool:
        now_s = time.monotonic()
        if now_s < self._again_s:
            return False
        self._again_s = now_s + AGAIN_S
        try:
            self._client = LocalClient(self._path)
        except LocalError:
            return False
        self._on_connection("")
        return True

    def _gone(self, exc: LocalError) -> Incoming:
        """Note that the connection has ended; whoever looks sees the device go offline."""
        self.close()
        self._client = None
        self._again_s = time.monotonic() + AGAIN_S
        self._on_connection(f"{exc.what}, trying again")
        return Incoming(f"{self._base}/{self._device}/availability", b"offline")
