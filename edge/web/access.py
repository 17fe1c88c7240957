"""Decides who sends a request, and whether a browser was made to send it. Knows no route.

Rule 1: without a password only this machine is let in, and no proxy in front of it.
Rule 2: what a browser sends by itself (a cookie, a request from this machine) is not enough to
        change anything: see ``check_origin``.
Rule 3: a password or a list of tokens that cannot be read lets nobody in.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from edge.errors import ConfigError
from edge.web.answers import Refused, locked
from edge.web.password import Passwords
from edge.web.sessions import Sessions
from edge.web.tokens import Tokens

log = logging.getLogger(__name__)
COOKIE: Final = "edge_session"
HEADER: Final = "x-edge-request"
"""Of every request that changes something. A page of another site cannot send it: browsers ask
first, and are refused. Source: OWASP CSRF Prevention Cheat Sheet, custom request headers."""
FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Headers of a proxy."""
SET_PASSWORD: Final = "set one with `edge web --set-password`"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request. address: of the other end; name: of the token."""

    kind: Literal["local", "session", "token", "nobody"]
    name: str
    address: str

    def __str__(self) -> str:
        """Return who it is, for the log."""
        return f"{self.kind} {self.name}".strip() + f", from {self.address or 'here'}"


class Access:
    """The three ways in: from this machine, a session, a token.

    behind_proxy  the server has taken the address from the proxy's header
    """

    def __init__(self, passwords: Passwords, tokens: Tokens, behind_proxy: bool) -> None:
        self._passwords, self._tokens, self._behind_proxy = passwords, tokens, behind_proxy
        self.sessions = Sessions()
        self._version = passwords.version
        self._fault = ""

    def caller(self, headers: Mapping[str, str], address: str) -> Caller:
        """Return who sends a request with these headers. Raises Refused, 401 or 403."""
        try:
            has_password = self._passwords.current() is not None
            if self._passwords.version != self._version:
                self._version = self._passwords.version
                self.sessions.clear()
            scheme, _, token = headers.get("authorization", "").partition(" ")
            if scheme.lower() == "bearer":
                name = self._tokens.name(token.strip())
                if name is None:
                    raise Refused(401, "no such token", {"WWW-Authenticate": "Bearer"})
                return Caller("token", name, address)
        except ConfigError as exc:
            if str(exc) != self._fault:  # once, however many requests come
                self._fault = str(exc)
                log.error("%s; nobody is let in", exc)
            raise locked() from exc
        self._fault = ""
        if not has_password:
            return self._without_password(headers, address)
        session = cookie(headers, COOKIE)
        if session and self.sessions.valid(session, time.monotonic()):
            return Caller("session", "", address)
        raise Refused(401, "log in first, or send a token", {"WWW-Authenticate": "Bearer"})

    def _without_password(self, headers: Mapping[str, str], address: str) -> Caller:
        if self._behind_proxy or any(name in headers for name in FORWARDED):
            raise Refused(403, f"no password is set: no proxy is served; {SET_PASSWORD}")
        if not is_loopback(address):
            raise Refused(403, f"no password is set: only this machine is served; {SET_PASSWORD}")
        return Caller("local", "", address)


def check_site(headers: Mapping[str, str]) -> None:
    """Raise Refused, 403, where a browser says that a page of another site sends a request.

    A link to this site is allowed; it is not, where an element or a script of that page sends it.
    """
    if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
        return
    if headers.get("sec-fetch-mode") != "navigate":
        raise Refused(403, "sent by a page of another site")


def check_origin(headers: Mapping[str, str], scheme: str, caller: Caller, changes: bool) -> None:
    """Raise Refused, 403, where a page of another site may have made a browser send a POST.

    changes  whether it changes anything
    """
    if caller.kind == "token":  # no browser sends it by itself
        return
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise Refused(403, "sent by a page of another site")
    origin = headers.get("origin")
    if origin is not None and origin != f"{scheme}://{headers.get('host', '')}":
        raise Refused(403, "sent by a page of another site")
    if changes and headers.get(HEADER) != "1":
        raise Refused(403, "header missing: expected X-Edge-Request: 1")


def cookie(headers: Mapping[str, str], name: str) -> str:
    """Return a cookie's value; empty without one."""
    for part in headers.get("cookie", "").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value[:128]
    return ""


def is_loopback(address: str) -> bool:
    """Return whether an address is this machine's own. Empty: of a Unix socket, which is."""
    if not address:
        return True
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return bool((mapped or ip).is_loopback)


class Names:
    """Names by which the server is reached; others are refused, as DNS rebinding has them.

    An address needs no name server, so every address is allowed: a page that an attacker serves
    under a name of its own has that name as Host, whatever address it leads to.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = {"localhost", *(name.lower().rstrip(".") for name in names)}

    def check(self, host: str) -> None:
        """Raise Refused, 421, unless ``host`` may be asked for."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
            if name in self._names:
                return
            ipaddress.ip_address(name)
        except ValueError as exc:
            hint = "allow it with --name"
            raise Refused(421, f"unknown host name {host[:100]!r}; {hint}") from exc
