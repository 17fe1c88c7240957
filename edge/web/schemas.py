"""JSON Schemas of what the API takes and gives; those of payloads come from the contract."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from edge.contract import PAYLOADS, REQUESTS
from edge.contract.payloads import Response
from edge.web.uploads import BODY_MAX, FILE_MAX, FILES

Schema = dict[str, Any]
COMPONENTS: Final = "#/components/schemas/"
REF: Final = COMPONENTS + "{name}"
BINARY: Final[Schema] = {"type": "string", "format": "binary"}
TEXT: Final[Schema] = {"type": "string"}
STREAM: Final[Schema] = {
    "type": "object",
    "description": "Each event of the stream; docs/web.md says what they mean.",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["daemon", "heartbeat", "info", "state", "telemetry", "result", "event"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
SECONDS: Final[Schema] = {"type": "number", "minimum": 0}
ERROR: Final[Schema] = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "one line"}},
    "additionalProperties": False,
}
DAEMON: Final[Schema] = {
    "type": "object",
    "description": "How the daemon is reached.",
    "required": ["connected", "silent", "since_s", "error"],
    "properties": {
        "connected": {"type": "boolean"},
        "silent": {"type": "boolean", "description": "connected, but it says nothing"},
        "since_s": {**SECONDS, "description": "how long it has been connected, or away"},
        "error": {"type": "string", "description": "why it is away or silent; else empty"},
        "time_s": {"type": "number", "description": "the device's clock, seconds since 1970"},
    },
}
SCORES: Final[Schema] = {
    "type": "object",
    "required": ["label", "score", "scores"],
    "properties": {
        "label": TEXT,
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "scores": {
            "type": "object",
            "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1},
        },
    },
}
RESULTS: Final[Schema] = {
    "type": "object",
    "required": ["results"],
    "properties": {
        "results": {
            "type": "array",
            "maxItems": FILES,
            "items": {"anyOf": [{"$ref": f"{COMPONENTS}Scores"}, {"$ref": f"{COMPONENTS}Error"}]},
        }
    },
}
SESSION: Final[Schema] = {
    "type": "object",
    "required": ["password", "caller"],
    "properties": {
        "password": {"type": "boolean", "description": "whether one has to log in"},
        "caller": {"enum": ["local", "session", "token", "nobody"]},
    },
}
PREDICT_BODY: Final[Schema] = {
    "required": True,
    "description": f"At most {BODY_MAX} bytes; {FILES} files of {FILE_MAX} bytes.",
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "array", "minItems": 1, "items": BINARY}},
            }
        },
        "application/octet-stream": {"schema": BINARY},
        "image/*": {"schema": BINARY},
    },
}
LOGIN_BODY: Final[Schema] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["password"],
                "properties": {"password": TEXT},
                "additionalProperties": False,
            }
        }
    },
}


def envelope(payload: Schema) -> Schema:
    """Return the schema of an answer with a payload of the daemon."""
    return {
        "type": "object",
        "required": ["daemon", "stale", "age_s", "payload"],
        "properties": {
            "daemon": {"$ref": f"{COMPONENTS}Daemon"},
            "stale": {"type": "boolean", "description": "the daemon is away or silent"},
            "age_s": {"anyOf": [SECONDS, {"type": "null"}]},
            "payload": {"anyOf": [payload, {"type": "null"}]},
        },
    }


def events(payload: Schema) -> Schema:
    """Return the schema of the newest events."""
    entry = {
        "type": "object",
        "required": ["received_s", "payload"],
        "properties": {"received_s": SECONDS, "payload": payload},
    }
    return {
        "type": "object",
        "required": ["daemon", "events"],
        "properties": {
            "daemon": {"$ref": f"{COMPONENTS}Daemon"},
            "events": {"type": "array", "items": entry},
        },
    }


def contract() -> tuple[dict[str, Schema], dict[str, Schema], dict[str, Schema]]:
    """Return the schemas of topics, of commands, and the components that they refer to."""
    topics = {topic: payload for topic, (payload, *_) in PAYLOADS.items()}
    topics["response"] = Response
    kinds = [*topics.values(), *REQUESTS.values()]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REF)
    named = dict(zip([*topics, *REQUESTS], schemas, strict=True))
    own = {"Error": ERROR, "Daemon": DAEMON, "Scores": SCORES}
    return (
        {topic: named[topic] for topic in topics},
        {command: named[command] for command in REQUESTS},
        {**components, **own},
    )
