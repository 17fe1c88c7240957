"""Every address of the server, in one table; the FastAPI application that is made of it.

A handler gets a request whose caller and body the guard has checked. It reads the body from there,
and returns an answer or raises Refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from edge import __version__
from edge.contract.schema import clean
from edge.web import schemas
from edge.web.answers import JSON, Refused, answer, refusal
from edge.web.guard import Rule
from edge.web.pages import Page

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Schema = dict[str, Any]
REASONS: Final = {
    400: "The request is wrong.",
    401: "Not logged in, or a wrong password or token.",
    403: "Not allowed from there.",
    404: "No such address.",
    408: "The body came too slowly.",
    409: "The daemon refuses.",
    413: "Too large.",
    415: "Not a picture.",
    421: "Unknown host name.",
    429: "Too many; Retry-After says when again.",
    500: "A fault of the server; its log has it.",
    503: "The daemon is away, or the model cannot be used.",
    504: "The daemon does not answer.",
}
ALWAYS: Final = (400, 401, 403, 413, 421, 429, 500)
"""What every request may get."""


@dataclass(frozen=True, slots=True)
class Route:
    """One address.

    gives    content type -> schema of status 200
    refuses  further statuses, each with an error
    body     of the request, as OpenAPI has it; None without one
    query    parameters, as OpenAPI has them
    """

    path: str
    method: str
    handler: Handler
    summary: str
    gives: Mapping[str, Schema]
    refuses: tuple[int, ...] = ()
    body: Schema | None = None
    query: tuple[Schema, ...] = ()
    rule: Rule = field(default_factory=Rule)


def rules(routes: list[Route], pages: Mapping[str, Page]) -> dict[str, Rule]:
    """Return what the guard has to know of every path."""
    shell = dict.fromkeys(pages, Rule(("GET", "HEAD"), public=True))
    own: dict[str, Rule] = {}
    for route in routes:  # of two methods of a path, the last one has the rule
        before = own[route.path].methods if route.path in own else ()
        own[route.path] = replace(route.rule, methods=(*before, route.method))
    return {**shell, "/openapi.json": Rule(public=True), **own}


def application(routes: list[Route], pages: Mapping[str, Page]) -> FastAPI:
    """Return the application."""
    app = FastAPI(
        title="edge",
        version=__version__,
        description="What this device sees; docs/web.md says more.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    for route in routes:
        extra: Schema = {"parameters": [*route.query, *_headers(route)]}
        if route.body is not None:
            extra["requestBody"] = route.body
        app.add_api_route(
            route.path,
            route.handler,
            methods=[route.method],
            name=_name(route),
            summary=route.summary,
            response_model=None,
            response_class=Response,
            responses=_responses(route),
            openapi_extra=extra,
            operation_id=_name(route),
        )
    _static(app, pages)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _unrouted)
    app.add_exception_handler(Exception, _failed)
    return app


def _headers(route: Route) -> list[Schema]:
    if route.method == "GET" or route.rule.reads:
        return []
    text = "`1`; needed without a token: a page of another site cannot send it"
    return [
        {
            "name": "X-Edge-Request",
            "in": "header",
            "required": False,
            "description": text,
            "schema": {"type": "string", "examples": ["1"]},
        }
    ]


def _responses(route: Route) -> dict[int | str, dict[str, Any]]:
    error = {"schema": {"$ref": f"{schemas.COMPONENTS}Error"}}
    slow = (408,) if route.body else ()
    statuses = sorted({*ALWAYS, *slow, *route.refuses})
    given = {kind: {"schema": schema} for kind, schema in route.gives.items()}
    result: dict[int | str, dict[str, Any]] = {200: {"description": "Done.", "content": given}}
    for status in statuses:
        result[status] = {"description": REASONS[status], "content": {JSON: error}}
    return result


def _name(route: Route) -> str:
    return route.method.lower() + re.sub(r"\W+", "_", route.path).rstrip("_")


def _static(app: FastAPI, pages: Mapping[str, Page]) -> None:
    """Add the files of the page, and the description of the API."""

    async def page(request: Request) -> Response:
        found = pages[request.url.path]
        headers = {"ETag": found.tag, "Cache-Control": "no-cache", "Content-Type": found.kind}
        if request.headers.get("if-none-match") == found.tag:
            return Response(status_code=304, headers=headers)
        return Response(found.content, headers=headers)

    for path in pages:
        app.add_api_route(path, page, methods=["GET", "HEAD"], include_in_schema=False)
    made: list[Schema] = []

    async def description(_: Request) -> Response:
        if not made:
            made.append(document(app))
        return answer(made[0])

    app.add_api_route("/openapi.json", description, include_in_schema=False)


def document(app: FastAPI) -> Schema:
    """Return the OpenAPI document: FastAPI's, with the schemas of the contract."""
    from fastapi.openapi.utils import get_openapi

    made: Schema = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version="3.1.0",
        description=app.description,
        routes=app.routes,
    )
    _, _, components = schemas.contract()
    made["components"] = {
        "schemas": components,
        "securitySchemes": {
            "token": {"type": "http", "scheme": "bearer"},
            "session": {"type": "apiKey", "in": "cookie", "name": "edge_session"},
        },
    }
    made["security"] = [{"token": []}, {"session": []}, {}]
    return clean(made)  # type: ignore[no-any-return]


async def _refused(_: Request, exc: Exception) -> Response:
    return refusal(exc) if isinstance(exc, Refused) else answer({"error": "refused"}, 400)


async def _unrouted(_: Request, exc: Exception) -> Response:
    status = getattr(exc, "status_code", 500)
    error = str(getattr(exc, "detail", "")) or REASONS.get(status, "refused")
    return answer({"error": error}, status, getattr(exc, "headers", None))


async def _failed(_: Request, __: Exception) -> Response:
    return answer({"error": "internal error; see the log"}, 500)
