"""Logging in and out. A wrong password takes as long as a right one, and few may be tried.

Rule: one password is checked at a time (16 MiB, 0.15 s); beyond a few that wait, more are refused.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

import msgspec

from edge.errors import ConfigError
from edge.web.access import COOKIE, Access, Caller, cookie
from edge.web.answers import Refused, locked, too_many
from edge.web.password import MOST_BYTES, Hash, Passwords
from edge.web.sessions import LONGEST_S, Buckets

log = logging.getLogger("edge.web.audit")
PER_S: Final = 1 / 12
BURST: Final = 5
"""Tries of an address: five at once, then five a minute."""
ALL_PER_S: Final = 1.0
ALL_BURST: Final = 30
"""Tries of all addresses."""
WAITING: Final = 4


class _Try(msgspec.Struct, forbid_unknown_fields=True):
    password: str


class Login:
    """Opens and closes sessions."""

    def __init__(self, access: Access, passwords: Passwords) -> None:
        self._access, self._passwords = access, passwords
        self._each, self._all = Buckets(PER_S, BURST), Buckets(ALL_PER_S, ALL_BURST)
        self._waiting = 0
        self._one: asyncio.Lock | None = None

    async def open(self, body: bytearray, caller: Caller, secure: bool) -> str:
        """Return the cookie of a new session. Raises Refused, 400, 401, 403, 409 or 429.

        secure  the request came over TLS
        """
        text = self._password(body)
        hashed = self._current()
        if hashed is None:
            raise Refused(409, "no password is set: there is nothing to log in to")
        now_s = time.monotonic()
        wait_s = self._each.take(caller.address, now_s) or self._all.take("", now_s)
        if wait_s or self._waiting >= WAITING:
            raise too_many("too many tries to log in", wait_s or 1.0)
        self._one = self._one or asyncio.Lock()
        self._waiting += 1
        try:
            async with self._one:
                right = await asyncio.to_thread(hashed.fits, text)
        finally:
            self._waiting -= 1
        if not right or self._current() != hashed:
            log.warning("audit: login refused, from %s", caller.address or "here")
            raise Refused(401, "wrong password")
        log.info("audit: login, from %s", caller.address or "here")
        return set_cookie(self._access.sessions.open(time.monotonic()), int(LONGEST_S), secure)

    def close(self, cookies: str, caller: Caller, secure: bool) -> str:
        """End the session; return the cookie that removes it from the browser."""
        if self._access.sessions.close(cookie({"cookie": cookies}, COOKIE)):
            log.info("audit: logout, from %s", caller.address or "here")
        return set_cookie("", 0, secure)

    def _current(self) -> Hash | None:
        try:
            return self._passwords.current()
        except ConfigError as exc:
            raise locked() from exc

    def _password(self, body: bytearray) -> str:
        try:
            text = msgspec.json.decode(body, type=_Try).password
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise Refused(400, 'expected {"password": "..."}') from exc
        if len(text) > MOST_BYTES:
            raise Refused(401, "wrong password")
        return text


def set_cookie(value: str, seconds: int, secure: bool) -> str:
    """Return the value of Set-Cookie."""
    rest = "; Secure" if secure else ""
    return f"{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{rest}"
