"""A connection for http.client whose reads end by a deadline, or at once when it is shut.

http.client waits again for each byte: a server that sends one a second would hold it for ever.
Knows no HTTP. [1] Any thread may call ``shut``; the thread that reads calls everything else.
"""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
import time

from edge.frames import Seconds


class Connection:
    """An open connection.

    until_s    when its reads end, on the monotonic clock; None: each ``timeout_s`` after it began
    """

    def __init__(
        self, host: str, port: int, tls: bool, until_s: Seconds, timeout_s: Seconds
    ) -> None:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self.until_s: Seconds | None = until_s
        self._timeout_s, self._limit_s = timeout_s, left_s
        self._socket: socket.socket = socket.create_connection((host, port), left_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # as FFmpeg does
            plain = self._socket
            try:
                self._socket = context.wrap_socket(plain, server_hostname=host)
            except BaseException:
                plain.close()
                raise

    def sendall(self, content: bytes) -> None:
        """Send a request."""
        self._socket.sendall(content)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return a file to read an answer from."""
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """Do nothing: http.client closes its answers; the owner ends the connection."""

    def receive(self, buffer: memoryview) -> int:
        """Fill some of ``buffer``; return how much, 0 at the end. Raises OSError, ValueError."""
        limit_s = self._timeout_s
        if self.until_s is not None:
            limit_s = self.until_s - time.monotonic()
            if limit_s <= 0:
                raise TimeoutError
        if limit_s != self._limit_s:
            self._socket.settimeout(limit_s)
            self._limit_s = limit_s
        return self._socket.recv_into(buffer)

    def shut(self) -> None:
        """[1] End the read that waits, if any."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(
                self._socket, socket.SHUT_RDWR
            )  # TLS's closing message is left out

    def end(self) -> None:
        """Close the socket."""
        self._socket.close()


class _Reader(io.RawIOBase):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what io passes
        return self._connection.receive(buffer)
