"""One client of the local socket: bytes in, lines out; bytes that wait are bounded.

Rule: nothing here waits. What a client does not read waits until WAITING_MAX, and then the client
is given up.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import Final

from edge.messages import PAYLOAD_MAX

LINE_MAX: Final = PAYLOAD_MAX
"""Bytes of a client's line, without its end."""
WAITING_MAX: Final = 1_048_576
"""Bytes that may wait when another message comes, without the largest part of them."""


class Connection:
    """One client. Owner: the server; every call returns at once.

    fault   why it must be closed; empty while it need not
    ended   it sends no more, and may still read
    gone    it has closed both ways
    """

    def __init__(self, client: socket.socket) -> None:
        client.setblocking(False)
        self._socket = client
        self._received = bytearray()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = self._sent = 0
        self.fault = ""
        self.ended = self.gone = False

    def fileno(self) -> int:
        """Return its descriptor."""
        return self._socket.fileno()

    @property
    def has_line(self) -> bool:
        """Whether ``line`` would return one."""
        return b"\n" in self._received

    def receive(self) -> None:
        """Take what has come, at most one line more than is whole already."""
        if self.fault or self.ended or self.has_line:
            return
        try:
            chunk = self._socket.recv(LINE_MAX + 1 - len(self._received))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.ended = self.gone = True
            return
        self.ended = not chunk
        self._received += chunk
        if len(self._received) > LINE_MAX and not self.has_line:
            self.refuse(f"line too long: expected at most {LINE_MAX} bytes")

    def line(self) -> bytes | None:
        """Return the next whole line, without its end."""
        line, end, rest = self._received.partition(b"\n")
        if not end or self.fault:
            return None
        self._received = rest
        return bytes(line)

    def send(self, *parts: bytes) -> None:
        """Queue a message, unless too much waits already."""
        if self.fault:
            return
        waiting = self._waiting_bytes
        if waiting > WAITING_MAX and waiting - max(map(len, self._waiting)) > WAITING_MAX:
            self.fault = "does not read"  # a picture alone may be larger
            return
        self._waiting.extend(parts)
        self._waiting_bytes += sum(map(len, parts))

    def refuse(self, error: str) -> None:
        """Queue an error line; nothing follows it."""
        self.send(error_line(error))
        self.fault = self.fault or error

    def flush(self) -> None:
        """Send what the client takes now."""
        try:
            while self._waiting:
                part = self._waiting[0]
                count = self._socket.send(memoryview(part)[self._sent :])
                self._sent += count
                self._waiting_bytes -= count
                if self._sent == len(part):
                    self._waiting.popleft()
                    self._sent = 0
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.ended = self.gone = True

    def close(self) -> None:
        """Close, with a last try to send what waits."""
        self.flush()
        self._socket.close()
        self._waiting.clear()


def error_line(error: str) -> bytes:
    """Return an error as a line. error: plain text, without anything from outside."""
    return b'{"error":"%b"}\n' % error.replace('"', '\\"').encode()
