"""The local socket's server without a daemon: real sockets, and a loop that the test turns."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.contract import Request, Snapshot
from edge.contract.encode import Wire
from edge.daemon.commands import Answer, Pending, row
from edge.daemon.local.server import Local
from tests.conftest import WAIT_S

BASE = "edge/wall"


class Server:
    """A server with the commands `ping`, `later`, `broken` and `snapshot`.

    pending   answers that have not been given yet
    requests  counted
    """

    def __init__(self, path: Path, clients: int = 8, jpeg: bytes = b"JPEG") -> None:
        self.path, self.pending, self.requests = path, list[Pending](), 0
        self.wire = Wire(BASE, ("cat",), "cafe", lambda: 1.0)
        self.local = Local(path, clients, BASE)
        self._jpeg = jpeg
        self._clients: list[Raw] = []
        table = {
            "ping": row(Request, lambda _: {"pong": True}),
            "later": row(Request, self._later),
            "broken": row(Request, lambda _: {"never": 1 // 0}),
        }
        self.local.answer_with(self.wire, table, self._snapshot, self._count)
        self.local.tick()

    def _later(self, _: Request) -> Pending:
        self.pending.append(Pending())
        return self.pending[-1]

    def _snapshot(self, _: Snapshot, send: Callable[[bytes], None]) -> Answer:
        send(self._jpeg)
        return {"bytes": len(self._jpeg)}

    def _count(self) -> None:
        self.requests += 1

    def event(self) -> None:
        """Publish an event."""
        self.local.publish(self.wire.event("paused"))

    def until(self, condition: Callable[[], bool]) -> None:
        """Turn the loop until ``condition`` holds."""
        end_s = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < end_s
            self.local.tick()

    def connect(self) -> Raw:
        """Return a client that has connected."""
        self._clients.append(Raw(self))
        return self._clients[-1]

    def client(self) -> Raw:
        """Return a client that was accepted and has read its greeting."""
        made = self.connect()
        made.lines(1)
        return made

    def __enter__(self) -> Server:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the server and every client."""
        self.local.close()
        for client in self._clients:
            client.socket.close()


class Raw:
    """A client that sends any bytes."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(server.path))
        self.socket.setblocking(False)
        self.received = b""
        self.closed = False

    def send(self, content: bytes) -> None:
        """Send, as far as the server takes it."""
        left = memoryview(content)

        def sent() -> bool:
            nonlocal left
            with contextlib.suppress(BlockingIOError):
                left = left[self.socket.send(left) :]
            return not left

        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._server.until(sent)

    def read(self) -> bytes:
        """Take what is there; notice the end."""
        with contextlib.suppress(BlockingIOError):
            try:
                while chunk := self.socket.recv(65536):
                    self.received += chunk
                self.closed = True
            except ConnectionResetError:
                self.closed = True
        return self.received

    def lines(self, count: int) -> list[Any]:
        """Return the next lines."""
        self._server.until(lambda: self.read().count(b"\n") >= count)
        *lines, self.received = self.received.split(b"\n", count)
        return [json.loads(line) for line in lines]

    def rest(self) -> list[Any]:
        """Return the lines until the server closes."""
        self._server.until(lambda: (self.read(), self.closed)[1])
        return [json.loads(line) for line in self.received.splitlines()]

    def ask(self, body: Any) -> Any:
        """Send a request; return the next line."""
        self.send(json.dumps(body).encode() + b"\n")
        return self.lines(1)[0]
