"""The listening socket that systemd passes on, where its unit starts the server.

Rule: where the server cannot start, those who wait are answered. Left waiting, they would make
systemd start it again at once, until it gave the socket up for good.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import Final

from edge.errors import ConfigError

FIRST: Final = 3
"""The first descriptor that systemd passes on. Source: sd_listen_fds(3)."""
EXCUSE_S: Final = 3.0
"""How long to answer: ten starts in 30 s at most, fewer than the units' limits allow."""
CLIENT_S: Final = 0.5
"""Longest wait for a client's request."""
_BODY: Final = (
    b'{"error":"the page cannot start; on the device, `journalctl -u edge-camera-web` says why"}\n'
)
ANSWER: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
    b"Cache-Control: no-store\r\nRetry-After: 5\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)
"""Without the reason: who asks has not logged in."""


def is_activated() -> bool:
    """Return whether systemd has passed a socket to this process."""
    return os.environ.get("LISTEN_PID") == str(os.getpid())


def inherited() -> socket.socket | None:
    """Return the listening socket that systemd has passed on; None without one."""
    if not is_activated():
        return None
    if os.environ.get("LISTEN_FDS") != "1":
        count = os.environ.get("LISTEN_FDS", "")[:20]
        raise ConfigError("wrong number of sockets", where="LISTEN_FDS", expected="1", got=count)
    try:
        listener = socket.socket(fileno=FIRST)
    except OSError as exc:
        raise ConfigError(f"not a socket: {exc.strerror}", where="LISTEN_FDS") from exc
    listener.set_inheritable(False)
    listener.setblocking(False)
    return listener


def excuse(seconds: float = EXCUSE_S) -> None:
    """Answer all who connect to systemd's socket that the server cannot start."""
    if not is_activated():
        return
    until_s = time.monotonic() + seconds
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(FIRST)) as listener:
        while (left_s := until_s - time.monotonic()) > 0:
            listener.settimeout(left_s)
            client, _ = listener.accept()
            with contextlib.suppress(OSError), client:
                client.settimeout(CLIENT_S)
                client.recv(65_536)  # closed with this unread, it would lose the answer
                client.sendall(ANSWER)
                client.shutdown(socket.SHUT_WR)
