"""One connection to the daemon's local socket, for asyncio: messages in, requests out.

What the daemon sends is bounded, as edge/local.py bounds it; an answer is awaited with a deadline.
docs/local.md says what comes and what can be sent. Runs on the loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from edge.errors import LocalError
from edge.local import LINE_MAX, PICTURE_MAX
from edge.messages import PAYLOAD_MAX

CONNECT_S: Final = 5.0
OUTSTANDING: Final = 16
"""Requests that wait for an answer."""


@dataclass(frozen=True, slots=True)
class News:
    """A message of the daemon. payload: JSON, as it came."""

    topic: str
    payload: bytes
    retained: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request.

    payload  as on MQTT
    picture  the JPEG that came directly before it
    """

    payload: bytes
    status: str
    error: str
    picture: bytes | None


class _Line(msgspec.Struct):
    topic: str = ""
    retained: bool = False
    payload: msgspec.Raw = msgspec.Raw(b"null")
    bytes: int | None = None
    error: str = ""


class _Answer(msgspec.Struct):
    transaction: str | int | None = None
    status: str = ""
    error: str = ""


class Busy(Exception):
    """Too many requests wait for an answer already."""


class Link:
    """One connection. Raises LocalError for every fault of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: str):
        self._reader, self._writer, self._where = reader, writer, where
        self._pending: dict[int, asyncio.Future[Reply]] = {}
        self._transaction = 0

    @classmethod
    async def open(cls, path: Path) -> Link:
        """Connect."""
        try:
            opening = asyncio.open_unix_connection(path, limit=LINE_MAX)
            reader, writer = await asyncio.wait_for(opening, CONNECT_S)
        except TimeoutError as exc:
            raise LocalError("does not answer", where=str(path)) from exc
        except (OSError, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or str(exc)
            raise LocalError(reason, where=str(path)) from exc
        return cls(reader, writer, str(path))

    async def messages(self) -> AsyncIterator[News]:
        """Yield what the daemon publishes, until the connection ends."""
        picture: bytes | None = None
        while True:
            try:
                raw = await self._reader.readuntil(b"\n")
                line = msgspec.json.decode(raw, type=_Line)
                if line.error:
                    raise LocalError(line.error, where=self._where)
                if line.bytes is not None:
                    if not 0 <= line.bytes <= PICTURE_MAX:
                        raise LocalError(f"picture of {line.bytes} bytes", where=self._where)
                    picture = await self._reader.readexactly(line.bytes)
                    continue
            except asyncio.IncompleteReadError as exc:
                raise LocalError("the daemon has closed the connection", where=self._where) from exc
            except (asyncio.LimitOverrunError, msgspec.DecodeError, ValueError) as exc:
                raise LocalError("no daemon of this kind", where=self._where) from exc
            except (OSError, RecursionError) as exc:
                raise LocalError(f"cannot be read: {exc}", where=self._where) from exc
            if line.topic.startswith("response/"):
                self._answered(bytes(line.payload), picture)
            else:
                yield News(line.topic, bytes(line.payload), line.retained)
            picture = None

    async def request(self, command: str, payload: dict[str, Any], timeout_s: float) -> Reply:
        """Send a request and return its answer. Raises Busy, TimeoutError too."""
        if len(self._pending) >= OUTSTANDING:
            raise Busy
        self._transaction += 1
        number = self._transaction
        line = msgspec.json.encode({**payload, "command": command, "transaction": number}) + b"\n"
        if len(line) > PAYLOAD_MAX:
            raise LocalError("request too long", where=self._where)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._pending[number] = future
        try:
            self._writer.write(line)
            async with asyncio.timeout(timeout_s):
                return await future
        except OSError as exc:
            raise LocalError(exc.strerror or str(exc), where=self._where) from exc
        finally:
            del self._pending[number]

    def close(self) -> None:
        """Close, and fail every request that waits."""
        self._writer.close()
        for future in self._pending.values():
            if not future.done():
                reason = "the daemon has closed the connection"
                future.set_exception(LocalError(reason, where=self._where))

    def _answered(self, payload: bytes, picture: bytes | None) -> None:
        answer = msgspec.json.decode(payload, type=_Answer)
        number = answer.transaction
        future = self._pending.get(number) if isinstance(number, int) else None
        if future is not None and not future.done():
            future.set_result(Reply(payload, answer.status, answer.error, picture))
