"""Topics: payload, QoS and retained of each; decoding, and JSON Schema. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from edge.contract.payloads import Event, Info, Response, Result, Stamped, State
from edge.contract.requests import REQUESTS, Request
from edge.contract.telemetry import PARTS, Telemetry, telemetry

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

PAYLOADS: Final[dict[str, tuple[type[Stamped], int, bool]]] = {
    "info": (Info, 1, True),
    "state": (State, 1, True),
    "result": (Result, 0, False),
    "event": (Event, 1, False),
    "telemetry": (Telemetry, 0, False),
}
"""Topic -> payload, QoS, retained. ``availability`` is plain text: online or offline."""


def decode(topic: str, payload: bytes) -> Any:
    """Return a payload as plain values, checked against this contract. Raises ValueError."""
    if topic == "availability":
        return payload.decode()
    return msgspec.to_builtins(msgspec.json.decode(payload, type=PAYLOADS[topic][0]))


def schema(
    parts: Mapping[str, Any] = PARTS, requests: Mapping[str, type[Request]] = REQUESTS
) -> dict[str, Any]:
    """Return topic -> JSON Schema of its payload, every schema complete in itself.

    parts     of telemetry, beyond those that it always has
    requests  command -> payload
    """
    schemas: dict[str, Any] = {"availability": {"type": "string", "enum": ["online", "offline"]}}
    payloads = PAYLOADS | {"telemetry": (telemetry(parts), *PAYLOADS["telemetry"][1:])}
    for topic, (payload, qos, retain) in payloads.items():
        schemas[topic] = {
            "$schema": DIALECT,
            "title": f"edge/<device_id>/{topic}, QoS {qos}{', retained' if retain else ''}",
            **msgspec.json.schema(payload),
        }
    schemas["response"] = {
        "$schema": DIALECT,
        "title": "edge/<device_id>/response/<command>, QoS 1",
        **msgspec.json.schema(Response),
    }
    for command, body in requests.items():
        schemas[f"request/{command}"] = {
            "$schema": DIALECT,
            "title": f"edge/<device_id>/request/{command}, QoS 1",
            **msgspec.json.schema(body),
        }
    cleaned: dict[str, Any] = clean(schemas)
    return cleaned


def clean(value: Any) -> Any:
    """Return the schema as other languages read it.

    Descriptions are as Python 3.13 has docstrings, not indented; patterns begin with ``^`` and end
    with ``$``, as JavaScript has them. Source: JSON Schema 2020-12 core, 6.4; ECMA-262, 22.2.
    """
    if isinstance(value, dict):
        return {key: _cleaned(key, inner) for key, inner in value.items()}
    return [clean(inner) for inner in value] if isinstance(value, list | tuple) else value


def _cleaned(key: str, value: Any) -> Any:
    if key == "description" and isinstance(value, str):
        return inspect.cleandoc(value)
    if key == "pattern" and isinstance(value, str):
        begin, end = value.startswith(r"\A"), value.endswith(r"\Z")
        return "^" * begin + value[2 * begin : len(value) - 2 * end] + "$" * end
    return clean(value)
