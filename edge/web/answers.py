"""JSON answers, and errors on one line. Text from outside is escaped in an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.responses import Response

from edge.errors import EdgeError
from edge.text import escaped

JSON: Final = "application/json"
LONGEST: Final = 500
"""Characters of an error."""


class Refused(Exception):
    """A request that gets an error instead of an answer.

    status   of HTTP
    headers  beside those that every answer has
    """

    def __init__(
        self, status: int, error: str | EdgeError, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(escaped(" ".join(str(error).split()), LONGEST))
        self.status, self.headers = status, dict(headers or {})


def too_many(error: str, wait_s: float) -> Refused:
    """Return what is sent beyond a limit on rate or number."""
    return Refused(429, error, {"Retry-After": str(max(1, int(wait_s + 0.999)))})


def locked() -> Refused:
    """Return what is sent while a secret cannot be read: it never counts as none."""
    return Refused(403, "locked: a secret cannot be read; the log says which")


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer; ``body`` may hold raw JSON."""
    content = msgspec.json.encode(body)
    return Response(content, status, dict(headers or {}), media_type=JSON)


def refusal(refused: Refused) -> Response:
    """Return a refusal as an answer."""
    return answer({"error": str(refused)}, refused.status, refused.headers)
