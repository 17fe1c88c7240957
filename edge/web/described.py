"""Bodies and answers as records: decoded, checked, and described for OpenAPI by their types."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
from fastapi import Request

from edge.web.access import Caller
from edge.web.answers import JSON, Refused
from edge.web.routes import Schema

Body = TypeVar("Body")
_DEFINITIONS: Final = "#/$defs/"


def body(request: Request, kind: type[Body]) -> Body:
    """Return the request's body as ``kind``. Raises Refused, 400."""
    try:
        return msgspec.json.decode(bytes(request.scope["edge.body"]), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Refused(400, f"the body is not as expected: {exc}") from exc


def caller(request: Request) -> Caller:
    """Return who sends a request, as the guard has found."""
    found: Caller = request.scope["edge.caller"]
    return found


def schema(kind: Any) -> Schema:
    """Return the schema of a type, whole: no reference in it. The type does not contain itself."""
    made = msgspec.json.schema(kind)
    definitions = made.pop("$defs", {})
    return _whole(made, definitions)  # type: ignore[no-any-return]


def takes(kind: Any) -> Schema:
    """Return a body of JSON for OpenAPI."""
    return {"required": True, "content": {JSON: {"schema": schema(kind)}}}


def gives(kind: Any) -> dict[str, Schema]:
    """Return an answer in JSON for OpenAPI."""
    return {JSON: schema(kind)}


def parameter(name: str, kind: Any, text: str, where: str = "query") -> Schema:
    """Return a parameter for OpenAPI."""
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "description": text,
        "schema": schema(kind),
    }


def number(request: Request, name: str, default: float | None, low: float, high: float) -> Any:
    """Return a number of the query; ``default`` without it. Raises Refused, 400."""
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        value = float(text[:40])
    except ValueError:
        value = float("nan")
    if not low <= value <= high:  # not a number neither
        raise Refused(400, f"{name}: expected {low:g} to {high:g}, got {text[:20]}")
    return value


def integer(request: Request, name: str, default: int | None, low: int, high: int) -> Any:
    """Return an integer of the query; ``default`` without it. Raises Refused, 400."""
    value = number(request, name, default, low, high)
    if value is not None and value != int(value):
        raise Refused(400, f"{name}: expected an integer, got {value:g}")
    return value if value is None else int(value)


def _whole(value: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        reference = value.get("$ref", "")
        if reference.startswith(_DEFINITIONS):
            return _whole(definitions[reference.removeprefix(_DEFINITIONS)], definitions)
        return {key: _whole(inner, definitions) for key, inner in value.items()}
    return [_whole(inner, definitions) for inner in value] if isinstance(value, list) else value
