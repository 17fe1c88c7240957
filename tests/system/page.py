"""`edge-camera-web` in a machine: its unit, and a client at one of the machine's addresses."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.conftest import WAIT_S
from tests.system.machine import Machine
from tests.web_server import ASK, Got, Stream, Web

UNIT: Final = "edge-camera-web"
SOCKET: Final = f"{UNIT}.socket"
PORT: Final = 8080
HOME: Final = "127.0.0.1"
NETWORK: Final = "192.0.2.7"
"""An address of the machine's that is not this machine's own to the page. Source: RFC 5737."""
OPEN: Final = b"[Socket]\nListenStream=\nListenStream=8080\n"
"""As docs/web.md has it."""


class Page(Web):
    """A client. headers: of each request; trusted: the authority, over TLS."""

    def __init__(
        self, machine: Machine, address: str = HOME, trusted: str = "", **headers: str
    ) -> None:
        self.machine, self.address, self.headers = machine, address, headers
        self._tls = ssl.create_default_context(cadata=trusted) if trusted else None

    def connect(self, timeout_s: float = WAIT_S) -> http.client.HTTPConnection:
        """Return a connection: the first one starts the service."""
        connection = http.client.HTTPConnection(self.address, PORT)
        connection.sock = self.machine.dial(self.address, PORT)
        connection.sock.settimeout(timeout_s * self.machine.patience)
        if self._tls is not None:
            connection.sock = self._tls.wrap_socket(connection.sock, server_hostname=self.address)
        return connection

    def send(
        self, method: str, path: str, body: bytes | str | None, headers: Mapping[str, str]
    ) -> Got:
        """Return the answer to one request, with the headers of all."""
        return super().send(method, path, body, {**self.headers, **headers})

    @contextlib.contextmanager
    def live(self, **headers: str) -> Iterator[Stream]:
        """Return a stream of server-sent events, with the headers of all."""
        with super().live(**self.headers, **headers) as stream:
            yield stream

    def get(self, path: str) -> Any:
        """Return what an address answers, decoded."""
        got = self.ask(path)
        assert got.status == 200, (path, got)
        return got.json()

    def post(self, path: str, body: Any) -> Got:
        """Return the answer to a change."""
        return self.send("POST", path, json.dumps(body), ASK)

    def log_in(self, password: str) -> Got:
        """Try a password."""
        return self.send("POST", "/api/login", json.dumps({"password": password}), ASK)

    def is_live(self) -> bool:
        """Return whether the daemon is connected, and what it says is not stale."""
        state = self.get("/api/state")
        return state["daemon"]["connected"] and not state["stale"] and state["payload"] is not None

    def pid(self) -> int:
        """Return the server's process id, 0 while there is none."""
        return int(self.machine.show("MainPID", unit=UNIT)["MainPID"])

    def is_active(self) -> tuple[str, str]:
        """Return the states of the socket unit and of the service."""
        return (
            self.machine.show("ActiveState", unit=SOCKET)["ActiveState"],
            self.machine.show("ActiveState", unit=UNIT)["ActiveState"],
        )
