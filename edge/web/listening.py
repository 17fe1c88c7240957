"""The server's socket and certificates: opened by root, used as the user that it becomes.

A port below 1024 and a private key may be root's alone. Before the password is known to be set, a
socket is bound and does not listen.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from edge.errors import ConfigError
from edge.web import activation
from edge.web.access import is_loopback
from edge.web.password import Passwords


@dataclass(frozen=True, slots=True)
class Opened:
    """What only root may open.

    listener  bound, and listening where it is systemd's
    where     that it is bound to; empty for systemd's
    tls       with certificate and key; None: plain HTTP
    """

    listener: socket.socket
    where: str
    tls: ssl.SSLContext | None


def opened(host: str, port: int, tls: tuple[Path, Path] | None) -> Opened:
    """Return socket and certificates, before root becomes another user. Raises ConfigError.

    host, port  without effect on a socket of systemd's
    tls         certificate and key
    """
    context = _tls(*tls) if tls else None
    if listener := activation.inherited():
        return Opened(listener, "", context)
    where = f"{host}:{port}"
    return Opened(_bound(host, port, where), where, context)


def _bound(host: str, port: int, where: str) -> socket.socket:
    """Return a socket that does not listen yet. Raises ConfigError."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
    except (OSError, UnicodeError) as exc:
        raise _refused(exc, where) from exc
    listener.setblocking(False)
    return listener


def listen(opened: Opened, passwords: Passwords) -> None:
    """Have the socket listen. Raises ConfigError: on a network only with a password."""
    if not opened.where:
        return
    if not is_loopback(str(opened.listener.getsockname()[0])) and passwords.current() is None:
        raise ConfigError(
            "no password is set: only this machine is served",
            where=opened.where,
            expected="--host 127.0.0.1, or a password",
            hint="set one with `edge web --set-password`",
        )
    try:
        opened.listener.listen(128)
    except OSError as exc:
        raise _refused(exc, opened.where) from exc


def _refused(exc: Exception, where: str) -> ConfigError:
    reason = getattr(exc, "strerror", None) or str(exc)
    return ConfigError(f"cannot listen: {reason}", where=where, hint="see --port")


def _tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return what has certificate and key, which belong together. Raises ConfigError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as exc:
        reason = getattr(exc, "reason", None) or exc.strerror or str(exc)
        where = f"--tls-cert {certificate}, --tls-key {key}"
        raise ConfigError(f"cannot be used: {reason}", where=where) from exc
    return context
