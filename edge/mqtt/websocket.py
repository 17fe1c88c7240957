"""A reader of WebSocket frames that passes payload on as it arrives and holds headers only.

paho's own reader holds a frame until it is complete, whatever its size; its handshake reads lines
of any length, for any time.
"""

from __future__ import annotations

import socket
import ssl
import time
from typing import Final

from paho.mqtt.client import WebsocketConnectionError, WebSocketHeaders, _WebsocketWrapper

from edge.messages import Seconds

HANDSHAKE_BYTES: Final = 16_384
HANDSHAKE_S: Final = 10.0
CONTROL_MAX: Final = 125
"""Bytes in a control frame (RFC 6455, section 5.5)."""


class WebSocket(_WebsocketWrapper):
    """A socket over WebSocket frames, as paho uses it. Raises OSError if the handshake fails."""

    def __init__(
        self, plain: socket.socket | ssl.SSLSocket, host: str, port: int, is_ssl: bool, path: str
    ) -> None:
        self._head = bytearray()
        self._left = 0  # bytes of the frame still to be read
        super().__init__(
            socket=plain, host=host, port=port, is_ssl=is_ssl, path=path, extra_headers=None
        )

    def _do_handshake(self, extra_headers: WebSocketHeaders | None) -> None:
        plain = self._socket
        self._socket = _Handshake(plain)  # type: ignore[assignment]  # has the two methods used
        try:
            super()._do_handshake(extra_headers)
        except (ValueError, IndexError) as exc:
            raise WebsocketConnectionError("WebSocket handshake error: not HTTP") from exc
        finally:
            self._socket = plain

    def _recv_impl(self, length: int) -> bytes:
        """Return up to ``length`` bytes, none at the end. Raises BlockingIOError if none yet."""
        try:
            if not self._left:
                self._next_frame()
            part = self._received(min(length, self._left))
        except ConnectionError:
            self.connected = False
            return b""
        self._left -= len(part)
        return part

    def _next_frame(self) -> None:
        """Read a header; answer a control frame. Raises BlockingIOError if no payload follows.

        Raises ConnectionError for a frame that no server may send.
        """
        head = self._head
        while (whole := _header_bytes(head)) > len(head):
            head += self._received(whole - len(head))
        opcode, short = head[0] & 0x0F, head[1] & 0x7F
        extended = int.from_bytes(head[2:], "big")
        self._head = bytearray()
        if opcode in (self.OPCODE_BINARY, self.OPCODE_CONTINUATION):
            self._left = short if short <= CONTROL_MAX else extended
        elif opcode == self.OPCODE_PING:
            self._answer(head[2:])
        elif opcode != self.OPCODE_PONG:
            raise ConnectionAbortedError("closed")
        if not self._left:
            raise BlockingIOError

    def _answer(self, payload: bytearray) -> None:
        """Send a pong, unless a frame of ours is half sent; then the next ping is answered."""
        if not self._sendbuffer:
            frame = self._create_frame(self.OPCODE_PONG, payload)
            if self._socket.send(frame) < len(frame):
                raise ConnectionAbortedError("no room for a pong")

    def _received(self, length: int) -> bytes:
        part = self._socket.recv(length)
        if not part:
            raise ConnectionAbortedError("ended")
        return part


class _Handshake:
    """A socket for the HTTP handshake, limited in bytes and time."""

    def __init__(self, plain: socket.socket | ssl.SSLSocket) -> None:
        self._plain, self._left = plain, HANDSHAKE_BYTES
        self._until_s: Seconds = time.monotonic() + HANDSHAKE_S

    def send(self, content: bytes) -> int:
        return self._plain.send(content)

    def recv(self, length: int) -> bytes:
        self._left -= length
        if self._left < 0 or time.monotonic() > self._until_s:
            raise WebsocketConnectionError("WebSocket handshake error: no end of the headers")
        return self._plain.recv(length)


def _header_bytes(head: bytearray) -> int:
    """Return the length of a header as far as ``head`` shows; a control frame's with payload."""
    if len(head) < 2:
        return 2
    short, control = head[1] & 0x7F, head[0] & 0x08
    if head[1] & 0x80 or (control and short > CONTROL_MAX):
        raise ConnectionAbortedError("a frame that no server may send")
    if control:
        return 2 + short
    return 2 + {126: 2, 127: 8}.get(short, 0)
