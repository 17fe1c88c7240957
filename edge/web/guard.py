"""The way in: every request passes here before any route, every answer on its way out.

Host name, rate, address, caller, another site's page, then the body, bounded in bytes and time.
What a route gets is whole, in the scope: ``edge.caller``, ``edge.body``, and ``edge.done``, an
ExitStack that closes once it is answered. On the way out: headers, and an end to readers that do
not read.

Pure ASGI, on the loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from edge.web.access import Access, Caller, Names, check_origin, check_site
from edge.web.answers import Refused, refusal, too_many
from edge.web.sessions import Buckets

log = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_MAX: Final = 16_000
"""Bytes of a request's body, where a route says nothing else."""
HELD_MAX: Final = 48_000_000
"""Bytes of all bodies that are held at the same time."""
PIECE_S: Final = 10.0
BODY_S: Final = 60.0
"""Longest wait for a piece of a body, and for the whole."""
SEND_S: Final = 20.0
"""Longest wait for a reader."""
PER_S: Final = 50.0
BURST: Final = 500.0
"""Requests of an address."""
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; manifest-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
"""Of every answer. Source: OWASP HTTP Headers Cheat Sheet."""
_ENCODED: Final = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a path needs.

    methods  that it has
    public   without logging in
    reads    a POST that changes nothing: a client that is no browser needs no header of its own
    body     its limit, bytes
    """

    methods: tuple[str, ...] = ("GET",)
    public: bool = False
    reads: bool = False
    body: int = BODY_MAX


class Activity:
    """Requests that are being answered, and when the last one ended."""

    def __init__(self) -> None:
        self.active = 0
        self.last_s = time.monotonic()
        self.answers: dict[tuple[str, int], int] = {}
        """Method, status -> answers."""

    def idle_s(self) -> float:
        """Return for how long there has been no request."""
        return 0.0 if self.active else time.monotonic() - self.last_s

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Count a request."""
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1
            self.last_s = time.monotonic()


class Guard:
    """Wraps the application. rules: path -> what it needs."""

    def __init__(
        self, app: App, access: Access, names: Names, rules: Mapping[str, Rule], activity: Activity
    ) -> None:
        self._app, self._access, self._names, self._rules = app, access, names, rules
        self._activity = activity
        self._rate = Buckets(PER_S, BURST)
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; anything but HTTP is ignored."""
        if scope["type"] != "http":
            return
        # Of 2.4 a server's send raises when the reader has gone. uvicorn 0.32 says 2.4 and does not
        # raise: a stream would never end. Of 2.3, Starlette listens for the end itself.
        scope["asgi"] = {**scope["asgi"], "spec_version": "2.3"}
        out = _Out(send)
        body = _Body()
        with self._activity.request(), contextlib.ExitStack() as done:
            scope["edge.done"] = done
            try:
                await self._admit(scope, receive, body)
                await self._app(scope, receive, out.send)
            except Refused as refused:
                await out.refuse(scope, receive, refused)
            except _Gone:
                log.debug("a reader was given up")
            except Exception as exc:
                log.error("%s %s failed: %r", scope["method"], scope["path"][:200], exc)
                log.debug("traceback", exc_info=True)
                await out.refuse(scope, receive, Refused(500, "internal error; see the log"))
            finally:
                self._held_bytes -= body.held_bytes
                method = scope["method"]
                key = method if method in ("GET", "HEAD", "POST") else "other", out.status
                self._activity.answers[key] = self._activity.answers.get(key, 0) + 1

    async def _admit(self, scope: Scope, receive: Receive, body: _Body) -> None:
        """Check a request, read its body into ``body``; raise Refused."""
        headers = _headers(scope)
        self._names.check(headers.get("host", ""))
        address = str(scope["client"][0]) if scope.get("client") else ""
        if wait_s := self._rate.take(address, time.monotonic()):
            raise too_many("too many requests", wait_s)
        rule = self._rules.get(scope["path"])
        if rule is None:
            raise Refused(404, "no such address")
        if scope["method"] not in rule.methods:
            allowed = ", ".join(rule.methods)
            raise Refused(405, f"expected {allowed}", {"Allow": allowed})
        caller = self._caller(headers, address, rule)
        reads = scope["method"] in ("GET", "HEAD")
        if reads:
            check_site(headers)
        else:
            check_origin(headers, scope["scheme"], caller, changes=not rule.reads)
        await self._read(headers, receive, body, 0 if reads else rule.body)
        scope["edge.caller"], scope["edge.body"] = caller, body.content

    def _caller(self, headers: Mapping[str, str], address: str, rule: Rule) -> Caller:
        try:
            return self._access.caller(headers, address)
        except Refused as refused:
            if not rule.public:
                raise
            return Caller("nobody", str(refused), address)

    async def _read(
        self, headers: Mapping[str, str], receive: Receive, body: _Body, limit: int
    ) -> None:
        length = headers.get("content-length", "0")
        if limit == 0 and length == "0" and "transfer-encoding" not in headers:
            return
        close = {"Connection": "close"}
        if not (length.isascii() and length.isdigit()) or int(length[:20]) > limit:
            raise Refused(413, f"body of {length[:20]} bytes: expected at most {limit}", close)
        until_s, more = time.monotonic() + BODY_S, True
        while more:
            try:
                left_s = min(PIECE_S, until_s - time.monotonic())
                message = await asyncio.wait_for(receive(), max(0.0, left_s))
            except TimeoutError as exc:
                raise Refused(408, "the body comes too slowly", close) from exc
            if message["type"] == "http.disconnect":
                raise _Gone
            piece = message.get("body", b"")
            if body.held_bytes + len(piece) > limit:
                raise Refused(413, f"body too large: expected at most {limit} bytes", close)
            if self._held_bytes + len(piece) > HELD_MAX:
                busy = too_many("too many uploads at the same time", 1.0)
                busy.headers.update(close)
                raise busy
            body.content += piece
            body.held_bytes += len(piece)
            self._held_bytes += len(piece)
            more = message.get("more_body", False)


class _Body:
    """What has come of a request's body. held_bytes: as counted; a route may empty it."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.held_bytes = 0


class _Gone(Exception):
    """The other end has gone, or does not read."""


class _Out:
    """Sends an answer: with the headers of all, and never waiting longer than SEND_S."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send one part of the answer. Raises _Gone."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), *_ENCODED]
            if not any(name == b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))
            message = {**message, "headers": headers}
        try:
            async with asyncio.timeout(SEND_S):
                await self._send(message)
        except TimeoutError as exc:
            raise _Gone from exc

    async def refuse(self, scope: Scope, receive: Receive, refused: Refused) -> None:
        """Send a refusal, unless an answer has begun."""
        if not self.status:
            with contextlib.suppress(_Gone):
                await refusal(refused)(scope, receive, self.send)


def _headers(scope: Scope) -> dict[str, str]:
    """Return the headers; of one that comes twice, both values. Raises Refused for two hosts."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key in headers and key in ("host", "origin", "content-length", "authorization"):
            raise Refused(400, f"header {key} twice")
        headers[key] = f"{headers[key]}; {text}" if key in headers else text
    return headers
