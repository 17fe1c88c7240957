"""A client of the daemon's local socket: its messages, requests and pictures, without a broker.

    with LocalClient(SERVICE_SOCKET) as device:
        device.request("ping")                       # {"run": ..., "version": ..., "uptime_s": ...}
        jpeg = device.snapshot()
        for message in device:                       # until the daemon ends
            print(message.topic, message.body())

Rule 1: whatever is at the socket, a call ends in time, and what it holds is bounded.
Rule 2: every fault is a LocalError; what the daemon refuses is an EdgeError with its words.

Blocking, with time-outs; one thread at a time. docs/local.md says what comes and what can be sent.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import msgspec

from edge.errors import EdgeError, LocalError

LINE_MAX: Final = 1_048_576
PICTURE_MAX: Final = 10_000_000
"""Bytes of what the daemon sends: a line, a picture (the most that snapshot.max_bytes allows)."""
CHUNK: Final = 65_536
TIMEOUT_S: Final = 5.0
AGAIN_S: Final = 0.01
"""Between two tries to connect to a daemon whose queue is full: the kernel does not wait for it."""
KEPT: Final = 1000
KEPT_BYTES: Final = 4_194_304
"""Messages kept for later while an answer is waited for; beyond, the oldest is dropped."""


@dataclass(frozen=True, slots=True)
class LocalMessage:
    """One message.

    topic     as on MQTT, without the base
    payload   JSON; of the topic ``snapshot`` a JPEG
    retained  it was current when the client connected
    """

    topic: str
    payload: bytes
    retained: bool = False

    def body(self) -> Any:
        """Return the payload of any topic but ``snapshot`` as plain values."""
        return json.loads(self.payload)


class Line(msgspec.Struct):
    """What a line of the daemon may have; ``bytes``: of the picture that follows."""

    topic: str = ""
    retained: bool = False
    payload: msgspec.Raw = msgspec.Raw(b"null")
    bytes: int | None = None
    error: str = ""


class _Answer(msgspec.Struct):
    transaction: str | int | None = None
    error: str = ""
    data: dict[str, Any] = {}


class LocalClient:
    """One connection to a daemon. Raises LocalError where there is none.

    timeout_s     longest wait for the connection, and for an answer
    dropped_total  messages that were dropped while an answer was waited for
    """

    def __init__(self, path: Path | str, timeout_s: float = TIMEOUT_S) -> None:
        self._where, self._timeout_s = os.fspath(path), timeout_s
        self._received = bytearray()
        self._picture: tuple[int, bool] | None = None
        self._kept: deque[LocalMessage] = deque()
        self._kept_bytes = self._transaction = self.dropped_total = 0
        self.ended = False
        """Whether the daemon has closed the connection, without an error."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._connect(time.monotonic() + timeout_s)
        except (OSError, ValueError) as exc:
            self._socket.close()
            hint = "is the daemon running? see [local] of its config"
            if isinstance(exc, PermissionError):
                hint = "use sudo, or join the group edge-camera-local"
            reason = getattr(exc, "strerror", None) or str(exc)
            raise LocalError(reason, where=self._where, hint=hint) from exc

    def request(self, command: str, **payload: Any) -> dict[str, Any]:
        """Return the answer's data. Raises EdgeError where the daemon refuses, LocalError."""
        return self._ask(command, payload)[0]

    def snapshot(self, **payload: Any) -> bytes:
        """Return a JPEG of the newest frame. Raises EdgeError where the daemon has none."""
        _, before = self._ask("snapshot", payload)
        if before is None:
            raise LocalError("no picture came", where=self._where)
        return before.payload

    def receive(self, timeout_s: float | None = None) -> LocalMessage | None:
        """Return the next message, None after ``timeout_s``; without one it waits.

        Raises LocalError where the connection has ended.
        """
        if self._kept:
            message = self._kept.popleft()
            self._kept_bytes -= len(message.payload)
            return message
        return self._next(None if timeout_s is None else time.monotonic() + timeout_s)

    def __iter__(self) -> Iterator[LocalMessage]:
        """Yield messages until the daemon ends the connection."""
        while True:
            try:
                message = self.receive()
            except LocalError:
                if self.ended:
                    return
                raise
            if message is not None:
                yield message

    def fileno(self) -> int:
        """Return the descriptor; messages may be waiting here although it is not readable."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def __enter__(self) -> LocalClient:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def _connect(self, until_s: float) -> None:
        """Connect; wait while the daemon has not accepted those before. Raises OSError."""
        self._socket.setblocking(False)
        while True:
            try:
                self._socket.connect(self._where)
            except BlockingIOError as exc:
                if time.monotonic() > until_s:
                    raise TimeoutError("no answer") from exc
                time.sleep(AGAIN_S)
            else:
                return

    def _ask(
        self, command: str, payload: dict[str, Any]
    ) -> tuple[dict[str, Any], LocalMessage | None]:
        """Send a request; return the answer's data, and the picture directly before it."""
        self._transaction += 1
        body = {**payload, "command": command, "transaction": self._transaction}
        until_s = time.monotonic() + self._timeout_s
        self._send(msgspec.json.encode(body) + b"\n")
        before: LocalMessage | None = None
        while (message := self._next(until_s)) is not None:
            if message.topic.startswith("response/"):
                answer = msgspec.json.decode(message.payload, type=_Answer)
                if answer.transaction == self._transaction:
                    if answer.error:
                        raise EdgeError(answer.error)
                    return answer.data, before
            if before is not None:
                self._keep(before)
            before = message if message.topic == "snapshot" else None
            if before is None:
                self._keep(message)
        raise LocalError(f"no answer to {command} in {self._timeout_s:g} s", where=self._where)

    def _keep(self, message: LocalMessage) -> None:
        self._kept.append(message)
        self._kept_bytes += len(message.payload)
        while len(self._kept) > KEPT or self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popleft().payload)
            self.dropped_total += 1

    def _send(self, line: bytes) -> None:
        try:
            self._socket.settimeout(self._timeout_s)
            self._socket.sendall(line)
        except BrokenPipeError:
            self._next(time.monotonic())  # there may be an error line, which says why
            raise LocalError("the daemon has closed the connection", where=self._where) from None
        except OSError as exc:
            raise LocalError(exc.strerror or str(exc), where=self._where) from exc

    def _next(self, until_s: float | None) -> LocalMessage | None:
        """Return the next message; None if it is not whole in time. Raises LocalError."""
        while True:
            message = self._parse()
            if message is not None:
                return message
            left_s = None if until_s is None else max(0.0, until_s - time.monotonic())
            try:
                self._socket.settimeout(left_s)
                chunk = self._socket.recv(CHUNK)
            except (TimeoutError, BlockingIOError):
                return None
            except ConnectionResetError:
                chunk = b""
            except OSError as exc:
                raise LocalError(exc.strerror or str(exc), where=self._where) from exc
            if not chunk:
                self.ended = not self._received and self._picture is None
                raise LocalError("the daemon has closed the connection", where=self._where)
            self._received += chunk

    def _parse(self) -> LocalMessage | None:
        """Return the first message of what was received, if it is whole."""
        if self._picture is None:
            end = self._received.find(b"\n", 0, LINE_MAX + 1)
            if end < 0:
                if len(self._received) > LINE_MAX:
                    raise LocalError("line too long: no daemon of this kind", where=self._where)
                return None
            try:
                line = msgspec.json.decode(self._received[:end], type=Line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
                raise LocalError("no daemon of this kind", where=self._where) from exc
            del self._received[: end + 1]
            if line.error:
                raise LocalError(line.error, where=self._where)
            if line.bytes is None:
                return LocalMessage(line.topic, bytes(line.payload), line.retained)
            if not 0 <= line.bytes <= PICTURE_MAX:
                raise LocalError(f"picture of {line.bytes} bytes", where=self._where)
            self._picture = line.bytes, line.retained
        size, retained = self._picture
        if len(self._received) < size:
            return None
        self._picture = None
        jpeg = bytes(self._received[:size])
        del self._received[:size]
        return LocalMessage("snapshot", jpeg, retained)
