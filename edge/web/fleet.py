"""The address of other devices on the same broker; the daemon asks, for it has the login.

docs/fleet.md says what a broker must allow.
"""

from __future__ import annotations

import msgspec
from fastapi import Request
from starlette.responses import Response

from edge.contract import Fleet
from edge.web import described
from edge.web.answers import Refused, answer
from edge.web.device import Device
from edge.web.routes import Route


class _Reply(msgspec.Struct):
    data: Fleet


class Others:
    """The handler."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def routes(self) -> list[Route]:
        """Return the address."""
        return [
            Route(
                *("/api/fleet", "GET", self.fleet, "Other devices on the same broker"),
                *(described.gives(Fleet), (409, 503, 504)),
            )
        ]

    async def fleet(self, _: Request) -> Response:
        """Return the others. Raises Refused: 409 where the broker cannot be asked."""
        reply = await self._device.request("fleet", {})
        if reply.status != "ok":
            raise Refused(409, reply.error or "the daemon refuses")
        try:
            return answer(msgspec.json.decode(reply.payload, type=_Reply).data)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise Refused(503, "the daemon answers something unexpected") from exc
