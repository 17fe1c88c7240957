"""A broker made by hand, a few lines of MQTT: it sends and refuses what no real one would."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from tests.certificates import Pair

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 2, 3, 4, 8, 12, 14
VERSION_5: Final = 5


def variable(number: int) -> bytes:
    """Return a variable byte integer."""
    out = bytearray()
    while True:
        number, rest = divmod(number, 128)
        out.append(rest | (128 if number else 0))
        if not number:
            return bytes(out)


def text(content: bytes) -> bytes:
    """Return a text, or binary data, with its length."""
    return struct.pack("!H", len(content)) + content


def packet(command: int, body: bytes) -> bytes:
    """Return a packet; ``command``: its first byte."""
    return bytes([command]) + variable(len(body)) + body


def section(properties: bytes) -> bytes:
    """Return properties with their length."""
    return variable(len(properties)) + properties


def publish(
    topic: bytes,
    payload: bytes,
    *,
    qos: int = 0,
    mid: int = 1,
    retain: bool = False,
    properties: bytes | None = b"",
) -> bytes:
    """Return a PUBLISH; ``properties`` is None for MQTT 3.1.1."""
    number = struct.pack("!H", mid) if qos else b""
    more = b"" if properties is None else section(properties)
    return packet(PUBLISH << 4 | qos << 1 | retain, text(topic) + number + more + payload)


class Connection:
    """One client of the broker."""

    def __init__(self, plain: socket.socket, websocket: bool) -> None:
        self._plain, self._websocket = plain, websocket
        self._frames = b""
        self.whole = threading.RLock()
        """Held while something is sent in parts."""
        self.in_frame = False
        """A frame without end has begun: all that is sent lies in it."""
        self.version = 0
        self.published: list[tuple[bytes, bytes]] = []
        """Topic and payload of what has come."""
        self.acknowledged: list[int] = []
        self.subscribed: list[bytes] = []
        if websocket:
            self._upgrade()

    def fileno(self) -> int:
        """Return the socket's descriptor, to wait for."""
        return self._plain.fileno()

    def read(self) -> tuple[int, bytes]:
        """Return the next packet's first byte and body. Raises EOFError."""
        command = self._exactly(1)[0]
        length, shift = 0, 0
        while True:
            byte = self._exactly(1)[0]
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return command, self._exactly(length)

    def send(self, content: bytes) -> None:
        """Send packets, in a frame where there are frames."""
        with self.whole:
            self.send_plain(frame(content) if self._websocket and not self.in_frame else content)

    def send_plain(self, content: bytes) -> None:
        """Send bytes as they are."""
        with self.whole:
            self._plain.sendall(content)

    def greet(self, properties: bytes = b"", code: int = 0) -> None:
        """Take the CONNECT, and answer it."""
        _, body = self.read()
        self.version = body[6]
        more = section(properties) if self.version == VERSION_5 else b""
        self.send(packet(CONNACK << 4, bytes([0, code]) + more))

    def attend(self, until: Callable[[], bool] = lambda: False) -> None:
        """Answer what comes until ``until`` holds after a packet."""
        while not until():
            command, body = self.read()
            match command >> 4:
                case 3:  # PUBLISH
                    self._published(command, body)
                case 4:  # PUBACK
                    self.acknowledged.append(int.from_bytes(body[:2], "big"))
                case 8:  # SUBSCRIBE
                    self._subscribed(body)
                case 12:  # PINGREQ
                    self.send(packet(0xD0, b""))
                case 14:  # DISCONNECT
                    raise EOFError

    def finish(self) -> None:
        """Send nothing more; return once the client has hung up."""
        self._plain.shutdown(socket.SHUT_WR)
        while True:
            self.read()

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            self._plain.shutdown(socket.SHUT_RDWR)
        self._plain.close()

    def _published(self, command: int, body: bytes) -> None:
        size = int.from_bytes(body[:2], "big")
        at = 2 + size
        if command & 6:
            mid, at = body[at : at + 2], at + 2
        if self.version == VERSION_5:
            at += body[at] + 1
        self.published.append((body[2 : 2 + size], body[at:]))
        if command & 6:
            self.send(packet(PUBACK << 4, mid))

    def _subscribed(self, body: bytes) -> None:
        at = 3 + body[2] if self.version == VERSION_5 else 2
        while at < len(body):
            size = int.from_bytes(body[at : at + 2], "big")
            self.subscribed.append(body[at + 2 : at + 2 + size])
            at += 3 + size
        more = b"\0" if self.version == VERSION_5 else b""
        self.send(packet(0x90, body[:2] + more + b"\1"))

    def _exactly(self, count: int) -> bytes:
        if not self._websocket:
            return self._from_socket(count)
        while len(self._frames) < count:
            self._frames += self._frame()
        content, self._frames = self._frames[:count], self._frames[count:]
        return content

    def _frame(self) -> bytes:
        head = self._from_socket(2)
        length = head[1] & 127
        if length > 125:
            length = int.from_bytes(self._from_socket(2 if length == 126 else 8), "big")
        mask = self._from_socket(4)
        content = self._from_socket(length)
        plain = bytes(byte ^ mask[at % 4] for at, byte in enumerate(content))
        return plain if head[0] & 15 in (0, 2) else b""

    def _from_socket(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            part = self._plain.recv(count - len(content))
            if not part:
                raise EOFError
            content += part
        return content

    def _upgrade(self) -> None:
        headers = b""
        while not headers.endswith(b"\r\n\r\n"):
            headers += self._from_socket(1)
        key = headers.lower().split(b"sec-websocket-key: ")[1].split(b"\r\n")[0]
        at = headers.lower().index(key)
        guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(headers[at : at + len(key)] + guid).digest())
        self.send_plain(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        )


def frame(content: bytes, opcode: int = 2, claimed: int | None = None) -> bytes:
    """Return a WebSocket frame as a server sends it, unmasked; ``claimed``: its length."""
    length = len(content) if claimed is None else claimed
    if length < 126:
        head = bytes([0x80 | opcode, length])
    elif length < 65_536:
        head = struct.pack("!BBH", 0x80 | opcode, 126, length)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 127, length)
    return head + content


class HandBroker:
    """Calls ``serve`` with each connection, one thread each, and hangs up when it returns."""

    host = "127.0.0.1"

    def __init__(
        self,
        serve: Callable[[Connection], None],
        *,
        tls: Pair | None = None,
        websocket: bool = False,
    ) -> None:
        self._serve, self._websocket = serve, websocket
        self._context: ssl.SSLContext | None = None
        if tls is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(tls.cert, tls.key)
        self._server = socket.create_server((self.host, 0))
        self.port = int(self._server.getsockname()[1])
        self.address = f"{self.host}:{self.port}"
        self.connections_total = 0
        self.open: list[Connection] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._server.accept()
                self.connections_total += 1
                threading.Thread(target=self._run, args=(plain,), daemon=True).start()

    def _run(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError, IndexError):
            if self._context is not None:
                plain = self._context.wrap_socket(plain, server_side=True)
            connection = Connection(plain, self._websocket)
            self.open.append(connection)
            self._serve(connection)
        with contextlib.suppress(OSError):
            plain.shutdown(socket.SHUT_RDWR)
        plain.close()

    def __enter__(self) -> Self:
        """Listen."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hang up on all."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for connection in self.open:
            connection.close()
