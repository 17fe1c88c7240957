"""What each address does; `routes` makes an application of it. On the loop's thread."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

import msgspec
from fastapi import Request
from starlette.responses import Response, StreamingResponse

from edge.contract import REQUESTS
from edge.errors import ConfigError
from edge.text import escaped
from edge.web import schemas
from edge.web.access import Caller
from edge.web.answers import JSON, Refused, answer, locked
from edge.web.device import Device
from edge.web.guard import Activity, Rule
from edge.web.login import Login
from edge.web.metrics import Metrics
from edge.web.password import Passwords
from edge.web.predict import Predict
from edge.web.routes import Route, Schema
from edge.web.uploads import BODY_MAX

log = logging.getLogger("edge.web.audit")
ALLOWED: Final = ("set", "reload", "pause", "resume", "model", "shadow")
COMMANDS: Final = (*ALLOWED, *(name for name in REQUESTS if name.startswith("cases-")))
"""Requests that the server passes on."""
EVENTS: Final = 50
EVENTS_MAX: Final = 500


class Api:
    """The handlers."""

    def __init__(
        self,
        device: Device,
        predict: Predict,
        login: Login,
        passwords: Passwords,
        activity: Activity,
    ) -> None:
        self._device, self._predict, self._login = device, predict, login
        self._passwords = passwords
        self._metrics = Metrics(device, predict, activity)

    def routes(self) -> list[Route]:
        """Return every address but those of the static page."""
        topics, commands, _ = schemas.contract()
        public, lists = Rule(public=True), _limit()
        read = [
            Route(f"/api/{name}", "GET", self.newest, text, {JSON: schemas.envelope(topics[name])})
            for name, text in (
                ("state", "The smoothed prediction"),
                ("telemetry", "Times, memory, health"),
                ("info", "What the device is"),
            )
        ]
        events = {JSON: schemas.events(topics["event"])}
        away, stream = (409, 429, 503, 504), {"text/event-stream": schemas.STREAM}
        results = {JSON: {"anyOf": [schemas.RESULTS, {"$ref": f"{schemas.COMPONENTS}Scores"}]}}
        done = {JSON: {"type": "object", "properties": {"ok": {"type": "boolean"}}}}
        return [
            *read,
            Route("/api/events", "GET", self.events, "The newest events", events, query=(lists,)),
            Route("/api/live", "GET", self.live, "Everything, as server-sent events", stream),
            Route(
                *("/snapshot.jpg", "GET", self.snapshot, "The newest picture"),
                *({"image/jpeg": schemas.BINARY}, away),
            ),
            Route(
                *("/api/predict", "POST", self.predict, "Labels and scores of pictures"),
                *(results, (415, 503), schemas.PREDICT_BODY),
                rule=Rule(reads=True, body=BODY_MAX),
            ),
            *(
                Route(
                    *(f"/api/request/{name}", "POST", self.request, f"The request `{name}`"),
                    *({JSON: topics["response"]}, away, _body(name, commands[name])),
                )
                for name in COMMANDS
            ),
            Route(
                *("/api/session", "GET", self.session, "Whether one is logged in"),
                *({JSON: schemas.SESSION},),
                rule=public,
            ),
            Route(
                *("/api/login", "POST", self.log_in, "Log in", done, (409,), schemas.LOGIN_BODY),
                rule=public,
            ),
            Route("/api/logout", "POST", self.log_out, "Log out", done, rule=public),
            Route("/healthz", "GET", self.healthz, "Whether the server works", done, rule=public),
            Route("/metrics", "GET", self.metrics, "For Prometheus", {"text/plain": schemas.TEXT}),
        ]

    async def newest(self, request: Request) -> Response:
        """Return the newest payload of a topic, with its age."""
        topic = request.url.path.rpartition("/")[2]
        return answer(self._device.newest.answer(topic, time.monotonic()))

    async def events(self, request: Request) -> Response:
        """Return the newest events, newest first."""
        text = request.query_params.get("limit", str(EVENTS))
        limit = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
        if not 1 <= limit <= EVENTS_MAX:
            raise Refused(400, f"limit: expected 1 to {EVENTS_MAX}, got {text[:20]}")
        newest = list(self._device.newest.events)[: -limit - 1 : -1]
        return answer({"daemon": self._device.daemon(), "events": newest})

    async def live(self, request: Request) -> Response:
        """Return a stream of events, until the reader leaves."""
        headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}  # the first is nginx's
        stream = self._device.live.stream(request.scope["edge.done"])
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    async def snapshot(self, _: Request) -> Response:
        """Return a JPEG of the newest frame."""
        return Response(await self._device.snapshot(), media_type="image/jpeg")

    async def predict(self, request: Request) -> Response:
        """Classify what was uploaded."""
        kind, caller = request.headers.get("content-type", ""), _caller(request)
        body = request.scope["edge.body"]
        return answer(await self._predict.answer(kind, body, caller.address))

    async def request(self, request: Request) -> Response:
        """Pass a request on to the daemon, and log who sent it and what became of it."""
        command = request.url.path.rpartition("/")[2]
        body = bytes(request.scope["edge.body"]) or b"{}"
        try:
            msgspec.json.decode(body, type=REQUESTS[command])
            payload = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise Refused(400, f"{command}: {exc}") from exc
        transaction = payload.pop("transaction", msgspec.Raw(b"null"))
        outcome = "no answer"
        try:
            reply = await self._device.request(command, payload)
            outcome = reply.error or reply.status
        except Refused as exc:
            outcome = str(exc)
            raise
        finally:
            sent = escaped(body.decode(errors="replace"), 300)
            log.info("audit: %s %s, by %s: %s", command, sent, _caller(request), outcome)
        if reply.status != "ok":
            raise Refused(409, reply.error or "the daemon refuses")
        given = msgspec.json.decode(reply.payload, type=dict[str, msgspec.Raw])
        return answer({**given, "transaction": transaction})

    async def session(self, request: Request) -> Response:
        """Return whether there is a password, and who asks."""
        try:
            has_password = self._passwords.current() is not None
        except ConfigError as exc:
            raise locked() from exc
        return answer({"password": has_password, "caller": _caller(request).kind})

    async def log_in(self, request: Request) -> Response:
        """Open a session."""
        secure, body = request.scope["scheme"] == "https", request.scope["edge.body"]
        made = await self._login.open(body, _caller(request), secure)
        return answer({"ok": True}, headers={"Set-Cookie": made})

    async def log_out(self, request: Request) -> Response:
        """End the session."""
        cookies, secure = request.headers.get("cookie", ""), request.scope["scheme"] == "https"
        made = self._login.close(cookies, _caller(request), secure)
        return answer({"ok": True}, headers={"Set-Cookie": made})

    async def healthz(self, _: Request) -> Response:
        """Return that the server works; how the daemon is, `/metrics` says."""
        return answer({"ok": True})

    async def metrics(self, _: Request) -> Response:
        """Return the figures for Prometheus."""
        content, kind = self._metrics.text()
        return Response(content, headers={"Content-Type": kind})


def _caller(request: Request) -> Caller:
    caller: Caller = request.scope["edge.caller"]
    return caller


def _limit() -> Schema:
    schema: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": EVENTS_MAX}
    return {"name": "limit", "in": "query", "required": False, "schema": schema}


def _body(command: str, schema: Schema) -> Schema:
    """Return a request's body for OpenAPI; without one, each key has its default."""
    needed = any(field.required for field in msgspec.structs.fields(REQUESTS[command]))
    return {"required": needed, "content": {JSON: {"schema": schema}}}
