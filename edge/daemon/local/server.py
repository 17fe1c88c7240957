"""Serves the clients of the local socket. Runs on the loop's thread, between two frames.

Rule 1: a message is encoded once, for MQTT; here its bytes are wrapped in a line, once for all
        clients, and only if there are any.
Rule 2: nothing here blocks, and each tick has a limit: new clients, bytes, requests.
Rule 3: answers and requested pictures go to the client that asked, and nowhere else.
"""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from edge.contract import PAYLOADS, Snapshot
from edge.contract.encode import Wire
from edge.daemon.commands import Answer, Commands, Row, row
from edge.daemon.local.connection import Connection
from edge.daemon.local.frames import Frames, Subscribe
from edge.daemon.local.place import Place, listen
from edge.daemon.rate import Rate, Throttle
from edge.errors import EdgeError, LocalError
from edge.frames import Seconds
from edge.messages import Incoming, Message

log = logging.getLogger(__name__)
TEND_S: Final = 30.0
"""Between two tries to listen, and between two looks whether the file is still there."""
LOG_S: Final = 60.0
"""Shortest time between two log lines about clients that were closed."""
ACCEPTS: Final = 8
REQUESTS: Final = 8
TICK_S: Final = 0.01
"""Most new clients and requests between two frames; longest time for requests, if the last one
takes no longer."""
RATE: Final = 40
"""Requests a second for all clients; further ones wait. Of each client the inbox has a limit."""
PICTURES: Final = 10
"""Pictures a second for all clients; further ones are refused."""
CURRENT: Final = ("info", "state", "telemetry", "snapshot")
"""What a client gets on connecting, as far as it is there; `online` follows, as on MQTT."""
ONLINE: Final = b'{"topic":"availability","retained":true,"payload":"online"}\n'
OFFLINE: Final = b'{"topic":"availability","retained":false,"payload":"offline"}\n'
Picture = Callable[[Snapshot, Callable[[bytes], None]], Answer]
"""Takes a picture; gives it to a callable."""


class Local:
    """The local socket of one run; it listens from the first tick on.

    base     what topics begin with, edge/<device_id>
    clients  at the same time
    """

    def __init__(self, path: Path, clients: int, base: str) -> None:
        self._path, self._clients_max, self._begins = path, clients, f"{base}/"
        self._kinds = {f"{base}/{kind}": kind for kind in (*PAYLOADS, "snapshot")}
        self._current: dict[str, Message] = {}
        self._clients: dict[int, tuple[Connection, Commands]] = {}
        self.frames = Frames()
        self._poll = select.poll()
        self._place: Place | None = None
        self._tend_s, self._fault = 0.0, ""
        self._rate, self._pictures = Rate(RATE), Rate(PICTURES)
        self._closed, self._closed_total, self._reason = Throttle(LOG_S), 0, ""

    def answer_with(
        self, wire: Wire, table: Mapping[str, Row], picture: Picture, count: Callable[[], None]
    ) -> None:
        """Say what executes requests. Called once, before the first tick."""
        self._wire, self._table, self._picture, self._count = wire, table, picture, count

    def publish(self, message: Message) -> None:
        """Queue a message for every client; what is current, a later one gets on connecting."""
        kind = self._kinds.get(message.topic)
        if kind is None:  # Home Assistant's
            return
        if message.retain or kind == "telemetry":
            self._current[kind] = message
        if self._clients:
            parts = _parts(kind, message.payload, retained=False)
            for client, _ in self._clients.values():
                client.send(*parts)

    def tick(self) -> None:
        """Accept, read, execute and send what can be at once."""
        now_s = time.monotonic()
        if now_s >= self._tend_s:
            self._tend(now_s)
        for fd, event in self._poll.poll(0):
            if fd not in self._clients:
                self._accept()
                continue
            client = self._clients[fd][0]
            client.receive()
            if client.ended:
                client.gone = client.gone or bool(event & (select.POLLHUP | select.POLLERR))
                self._poll.modify(fd, 0)  # it may still read
        if self._clients:
            self._execute(now_s)
            self._send()
        if self._closed.due(now_s):
            text = "local socket: %d clients closed so far, the last one: %s"
            log.warning(text, self._closed_total, self._reason)

    def close(self) -> None:
        """Say goodbye, as far as that needs no waiting, and remove the socket."""
        for client, _ in self._clients.values():
            client.send(OFFLINE)
            client.close()
        self._clients.clear()
        if self._place is not None:
            self._place.close()

    def _tend(self, now_s: Seconds) -> None:
        """Listen, if the socket is not there or its file has been removed; else go on without."""
        self._tend_s = now_s + TEND_S
        if self._place is not None:
            if self._place.is_there():
                return
            self._poll.unregister(self._place.listener)
            self._place.close()
            self._place = None
        try:
            self._place = listen(self._path)
        except LocalError as exc:
            if str(exc) != self._fault:
                self._fault = str(exc)
                log.warning("local socket: %s; the daemon goes on without", exc)
            return
        self._fault = ""
        self._poll.register(self._place.listener, select.POLLIN)
        log.info("local socket: %s", self._path)

    def _accept(self) -> None:
        for _ in range(ACCEPTS if self._place else 0):
            try:
                client = Connection(self._place.listener.accept()[0])  # type: ignore[union-attr]
            except OSError:  # no more; or no descriptor is left
                return
            if len(self._clients) >= self._clients_max:
                client.refuse(f"too many clients: at most {self._clients_max}")
                self._end(client)
                continue
            self._poll.register(client, select.POLLIN)
            self._clients[client.fileno()] = client, self._commands(client)
            for kind in CURRENT:
                if message := self._current.get(kind):
                    client.send(*_parts(kind, message.payload, retained=True))
            client.send(ONLINE)

    def _commands(self, client: Connection) -> Commands:
        """Return what executes the requests of one client: its rate and answers are its own."""

        def snapshot(request: Snapshot) -> Answer:
            if not self._pictures.take(time.monotonic()):
                raise EdgeError(f"too many pictures: at most {PICTURES} a second")
            return self._picture(
                request,
                lambda jpeg: client.send(*_parts("snapshot", jpeg, retained=False)),
            )

        def subscribe(request: Subscribe) -> Answer:
            self.frames.subscribe(client, request.results)
            return {"results": request.results}

        own = {"snapshot": row(Snapshot, snapshot), "subscribe": row(Subscribe, subscribe)}
        table = {**self._table, **own}
        return Commands(self._wire, table, self._count, once=False)

    def _execute(self, now_s: Seconds) -> None:
        """Execute one request of each client in turn, until there is none or time is over."""
        left, until_s = REQUESTS, now_s + TICK_S
        turn = list(self._clients.items())
        while turn and left and time.monotonic() < until_s:
            fd, (client, commands) = turn.pop(0)
            if not client.has_line:
                continue
            if not self._rate.take(now_s):
                return
            line = client.line()
            if line is None:  # it was refused
                continue
            self._request(client, commands, line, now_s)
            left -= 1
            self._clients[fd] = self._clients.pop(fd)  # the next tick begins with another one
            turn.append((fd, (client, commands)))

    def _request(self, client: Connection, commands: Commands, line: bytes, now_s: Seconds) -> None:
        try:
            body = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            command = msgspec.json.decode(body.pop("command"), type=str)
        except (KeyError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            client.refuse('expected a JSON object with "command"')
            return
        incoming = Incoming(
            f"{self._begins}request/{'' if '/' in command else command}",
            msgspec.json.encode(body),
            came_s=now_s,
        )

        def answer(message: Message) -> None:
            client.send(*_parts(message.topic.removeprefix(self._begins), message.payload))

        try:
            commands.execute(incoming, now_s, answer)
        except Exception as exc:  # a handler's bug must not end the daemon
            log.exception("local socket: a request failed")
            client.refuse(f"the request failed: {type(exc).__name__}")

    def _send(self) -> None:
        for fd, (client, _) in list(self._clients.items()):
            client.flush()
            if client.fault or (client.gone and not client.has_line):
                del self._clients[fd]
                self._poll.unregister(fd)
                self._end(client)

    def _end(self, client: Connection) -> None:
        self.frames.subscribe(client, results=False)
        client.close()
        if client.fault:
            self._closed_total += 1
            self._reason = client.fault
            self._closed.request()


def _parts(kind: str, payload: bytes, retained: bool = False) -> tuple[bytes, ...]:
    """Return a message as it is sent; the bytes of a picture are not copied."""
    flag = b"true" if retained else b"false"
    if kind == "snapshot":
        line = b'{"topic":"snapshot","retained":%b,"bytes":%d}\n' % (flag, len(payload))
        return line, payload
    return (b'{"topic":"%b","retained":%b,"payload":%b}\n' % (kind.encode(), flag, payload),)
