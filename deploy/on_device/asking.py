"""Asks the daemon over its local socket, with the standard library alone.

edge/local.py does the same for programs that have the package's libraries; this one also runs where
the installed version is another one. docs/local.md says what comes.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

SOCKET: Final = "/run/edge-camera/edge.sock"
LINE_MAX: Final = 1_048_576
PICTURE_MAX: Final = 10_000_000
CHUNK: Final = 65_536


class AskError(Exception):
    """The daemon does not answer, or refuses; one line."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message: its topic without the base, what it says, whether it was current on connecting."""

    topic: str
    body: Any
    retained: bool


class Daemon:
    """One connection. Every call ends by its deadline and raises AskError."""

    def __init__(self, path: str = "", timeout_s: float = 5.0) -> None:
        path = path or SOCKET
        self._received, self._number = bytearray(), 0
        self.current: dict[str, Any] = {}
        """Topic -> the newest body that came, results of frames aside."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(path)
        except OSError as exc:
            self._socket.close()
            raise AskError(f"{path}: {exc.strerror or exc}") from exc

    def __enter__(self) -> Daemon:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._socket.close()

    def request(self, command: str, timeout_s: float = 5.0, **payload: Any) -> dict[str, Any]:
        """Return the answer's data."""
        self._number += 1
        line = json.dumps({**payload, "command": command, "transaction": self._number})
        try:
            self._socket.settimeout(timeout_s)
            self._socket.sendall(line.encode() + b"\n")
        except OSError as exc:
            raise AskError(f"{command}: {exc.strerror or exc}") from exc
        for message in self.messages(timeout_s):
            body = message.body
            if message.topic.startswith("response/") and body.get("transaction") == self._number:
                if body.get("error"):
                    raise AskError(f"{command}: {body['error']}")
                return dict(body.get("data") or {})
        raise AskError(f"{command}: no answer in {timeout_s:g} s")

    def messages(self, seconds: float) -> Iterator[Message]:
        """Yield what comes within so many seconds; pictures are read and left out."""
        until_s = time.monotonic() + seconds
        while (line := self._line(until_s)) is not None:
            try:
                given = json.loads(line)
                length = int(given.get("bytes") or 0)
            except (ValueError, TypeError, AttributeError, RecursionError):
                raise AskError("the local socket speaks another language") from None
            if given.get("error"):
                raise AskError(str(given["error"]))
            if not 0 <= length <= PICTURE_MAX:
                raise AskError(f"a picture of {length} bytes")
            if "bytes" in given:
                if self._take(length, until_s) is None:
                    return
                continue
            topic = str(given.get("topic", ""))
            body, retained = given.get("payload"), given.get("retained") is True
            if topic in ("info", "state", "telemetry") or topic.startswith("response/"):
                if not isinstance(body, dict):
                    raise AskError("the local socket speaks another language")
                self.current[topic] = body
            yield Message(topic, body, retained)

    def _line(self, until_s: float) -> bytes | None:
        """Return the next line; None if it is not whole in time."""
        while (end := self._received.find(b"\n")) < 0:
            if len(self._received) > LINE_MAX:
                raise AskError("the local socket speaks another language")
            if not self._read(until_s):
                return None
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line

    def _take(self, length: int, until_s: float) -> bytes | None:
        while len(self._received) < length:
            if not self._read(until_s):
                return None
        part = bytes(self._received[:length])
        del self._received[:length]
        return part

    def _read(self, until_s: float) -> bool:
        """Read what is there; return whether something came in time."""
        try:
            self._socket.settimeout(max(0.001, until_s - time.monotonic()))
            chunk = self._socket.recv(CHUNK)
        except TimeoutError:
            return False
        except OSError as exc:
            raise AskError(exc.strerror or str(exc)) from exc
        if not chunk:
            raise AskError("the daemon has closed the connection")
        self._received += chunk
        return True
