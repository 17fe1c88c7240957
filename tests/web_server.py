"""`edge web` as a process, and a client of it that hides nothing; a daemon of the test's own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.conftest import ROOT, WAIT_S, wait_until

ASK: Final = {"X-Edge-Request": "1"}
"""What every request that changes something must have."""
TEXT: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Got:
    """An answer. headers: names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body, decoded."""
        return json.loads(self.body)


class Web:
    """A server; its state directory is ``folder``, where its log is, too.

    place   what answers: an address, or a socket's path
    """

    def __init__(self, folder: Path, *arguments: str | Path, config: str = "", **env: str) -> None:
        self.folder = folder
        self.config = folder / "web.toml"
        if config or not self.config.exists():
            self.config.write_text(config or f'[local]\npath = "{folder}/edge.sock"\n')
        self.log = folder / f"web-{len(list(folder.glob('web-*.log')))}.log"
        self.env = {**os.environ, "STATE_DIRECTORY": str(folder), **env}
        command = [sys.executable, "-m", "edge", "web", "--config", self.config]
        if "--port" not in arguments:
            arguments = ("--port", "0", *arguments)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*map(str, command), *map(str, arguments)], cwd=ROOT, stderr=log, env=self.env
            )
        self.port = 0

    def ready(self) -> Web:
        """Return itself, once it listens."""
        place = re.compile(r"serving https?://(?:\[?[\w.:]+\]?):(\d+)/")

        def listens() -> bool:
            found = place.search(self.log.read_text())
            assert found or self.process.poll() is None, self.log.read_text()
            self.port = int(found[1]) if found else 0
            return bool(found)

        wait_until(listens, self.log.read_text)
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)

    def connect(self, timeout_s: float = WAIT_S) -> http.client.HTTPConnection:
        """Return a connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)

    def raw(self, *parts: bytes, timeout_s: float = WAIT_S) -> socket.socket:
        """Return a socket on which ``parts`` were sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout_s)
        for part in parts:
            connection.sendall(part)
        return connection

    def ask(
        self,
        path: str,
        body: bytes | str | None = None,
        method: str = "",
        **headers: str,
    ) -> Got:
        """Return the answer to one request; a body makes it a POST. Underlines become hyphens."""
        method = method or ("GET" if body is None else "POST")
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send(method, path, body, sent)

    def send(
        self, method: str, path: str, body: bytes | str | None, headers: Mapping[str, str]
    ) -> Got:
        """Return the answer to one request, with exactly these headers."""
        connection = self.connect()
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Got(answer.status, named, answer.read())
        finally:
            connection.close()

    def order(self, command: str, **payload: Any) -> Got:
        """Return the answer to a request to the daemon."""
        return self.send("POST", f"/api/request/{command}", json.dumps(payload), ASK)

    def connected(self) -> Web:
        """Return itself, once it is connected to a daemon that has said all that is current."""

        def said() -> bool:
            state = self.ask("/api/state").json()
            return bool(state["daemon"]["connected"]) and state["payload"] is not None

        wait_until(said, self.log.read_text)
        return self

    def rss_bytes(self, peak: bool = False) -> int:
        """Return its resident memory, now or at its peak."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (kilobytes,) = re.findall(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", status)
        return int(kilobytes) * 1024

    @contextlib.contextmanager
    def live(self, **headers: str) -> Iterator[Stream]:
        """Return a stream of server-sent events."""
        connection = self.connect()
        try:
            connection.request("GET", "/api/live", None, headers)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            with answer:  # which has the socket, too
                yield Stream(answer)
        finally:
            connection.close()


class Stream:
    """Events as a browser sees them. Ends with EOFError."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self._answer = answer

    def next(self) -> tuple[str, Any]:
        """Return the name and the data of the next event."""
        name, data = "message", ""
        while True:
            line = self._answer.readline().decode()
            if not line:
                raise EOFError
            key, _, value = line.rstrip("\n").partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                data = value
            elif not key and data:
                return name, json.loads(data)

    def drain(self) -> None:
        """Return once the stream has ended."""
        with contextlib.suppress(EOFError):
            while True:
                self.next()

    def until(self, name: str, **fields: Any) -> Any:
        """Return the data of the next event ``name`` that has these fields."""
        while True:
            event, body = self.next()
            inner = body.get("payload", body)
            if event == name and all(inner.get(key) == value for key, value in fields.items()):
                return body


class FakeDaemon:
    """A Unix socket that says what a test tells it to; answers as ``answers`` has it.

    received  the lines that came
    """

    def __init__(self, path: Path, hello: bytes = b"", answers: bool = True) -> None:
        self._path, self._hello, self._answers = path, hello, answers
        self.received: list[dict[str, Any]] = []
        self.clients: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def say(self, content: bytes) -> None:
        """Send bytes to every client."""
        for client in self.clients:
            client.sendall(content)

    def close(self) -> None:
        """End it, and every connection."""
        with contextlib.suppress(OSError):  # closed before
            self._listener.shutdown(socket.SHUT_RDWR)
            self._path.unlink(missing_ok=True)
        self._listener.close()
        for client in self.clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            client.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                self.clients.append(client)
                client.sendall(self._hello)
            except ConnectionError:  # it did not like what it heard
                continue
            except OSError:
                return
            threading.Thread(target=self._read, args=(client,), daemon=True).start()

    def _read(self, client: socket.socket) -> None:
        try:
            with client.makefile("rb") as lines:
                for line in lines:
                    request = json.loads(line)
                    self.received.append(request)
                    if self._answers:
                        client.sendall(self.answer(request))
        except (OSError, ValueError):
            return

    def answer(self, request: dict[str, Any]) -> bytes:
        """Return the lines that answer a request."""
        body = {"seq": 1, "ts": 1.0, "status": "ok", "data": {}, "error": ""}
        body["transaction"] = request["transaction"]
        line = {"topic": f"response/{request['command']}", "retained": False, "payload": body}
        picture = b""
        if request["command"] == "snapshot":
            picture = b'{"topic": "snapshot", "retained": false, "bytes": 4}\n\xff\xd8\xff\xd9'
        return picture + json.dumps(line).encode() + b"\n"


def said(topic: str, retained: bool = True, **payload: Any) -> bytes:
    """Return a line of the daemon."""
    line = {"topic": topic, "retained": retained, "payload": payload}
    return json.dumps(line).encode() + b"\n"
