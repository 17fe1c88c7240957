"""Why the label changed, or did not: the newest frames, their own scores beside the window's.

A connection of its own to the daemon, with a subscription to every frame's result; only while
somebody asks, and a minute longer. It costs nothing while there is no request. On the loop's
thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec
from fastapi import Request
from msgspec import Meta
from starlette.responses import Response

from edge.errors import LocalError
from edge.web import described
from edge.web.answers import answer
from edge.web.link import Busy, Link
from edge.web.newest import Newest
from edge.web.routes import Route

log = logging.getLogger(__name__)
KEPT: Final = 3_600
"""Frames: a minute at the daemon's highest rate."""
SECONDS_MAX: Final = 600.0
LINGER_S: Final = 60.0
"""The subscription ends so long after the last request."""
AGAIN_S: Final = 1.0
FIRST_S: Final = 1.0
"""Longest wait of the first request for the first frame."""
ANSWER_S: Final = 5.0
SECONDS_MIN: Final = 0.001
Seconds = Annotated[float, Meta(ge=SECONDS_MIN, le=SECONDS_MAX)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Sent(msgspec.Struct):
    """A frame as the daemon sends it."""

    frame: int
    time_s: float
    label: str | None
    partial: bool
    scores: dict[str, float]
    smoothed: dict[str, float]


class Frame(msgspec.Struct):
    """One frame. scores: its own; smoothed: of the window after it; time: since 1970, seconds."""

    frame: int
    time: float
    label: str | None
    partial: bool
    scores: dict[str, float]
    smoothed: dict[str, float]


class Why(msgspec.Struct):
    """The rule of the label, and the frames it was applied to.

    window       frames of the smoothing window; method: mean, or exponential
    enter, exit  a label comes at this smoothed score, and goes below that one
    hold_frames  for so many frames in a row
    watching     frames are being received; they begin with the first request
    frames       oldest first; a gap in ``frame`` is frames that were not classified or not sent
    """

    window: int | None
    method: str | None
    enter: float | None
    exit: float | None
    hold_frames: int | None
    watching: bool
    error: str
    frames: list[Frame]


class _Smoothing(msgspec.Struct):
    window: int | None = None
    method: str | None = None
    enter: float | None = None
    exit: float | None = None
    hold_frames: int | None = None


class _Settings(msgspec.Struct):
    smoothing: _Smoothing = msgspec.field(default_factory=_Smoothing)


class _Info(msgspec.Struct):
    config: _Settings = msgspec.field(default_factory=_Settings)


class Watch:
    """The newest frames, as long as somebody wants them.

    path   of the local socket
    clock  monotonic
    """

    def __init__(
        self, path: Path, newest: Newest, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._newest, self._clock = path, newest, clock
        self._frames: deque[Frame] = deque(maxlen=KEPT)
        self._asked_s = -LINGER_S
        self._task: asyncio.Task[None] | None = None
        self._came = asyncio.Event()
        self.watching, self._error = False, ""

    def routes(self) -> list[Route]:
        """Return the address."""
        seconds = described.parameter("seconds", Seconds, "how far back; default 60")
        return [
            Route(
                *("/api/why", "GET", self.why, "The newest frames: why the label is what it is"),
                *(described.gives(Why), (), None, (seconds,)),
            )
        ]

    async def why(self, request: Request) -> Response:
        """Return the newest frames; the first request begins to watch, and waits a little."""
        seconds = described.number(request, "seconds", 60.0, SECONDS_MIN, SECONDS_MAX)
        self._asked_s = self._clock()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        if not self._frames:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_S):
                    await self._came.wait()
        since_s = time.time() - seconds
        frames = [frame for frame in self._frames if frame.time >= since_s]
        rule = msgspec.structs.asdict(self._rule())
        return answer(Why(**rule, watching=self.watching, error=self._error, frames=frames))

    def close(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        """Watch until nobody has asked for a while."""
        following = asyncio.create_task(self._follow_always())
        try:
            while self._clock() - self._asked_s < LINGER_S:
                await asyncio.sleep(AGAIN_S)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            self._frames.clear()
            self._came.clear()

    async def _follow_always(self) -> None:
        while True:
            try:
                await self._follow()
            except LocalError as exc:
                self._error = str(exc)
            except Exception as exc:  # whatever comes over the socket
                log.error("the local socket gave something unexpected: %r", exc)
                self._error = "the daemon gave something unexpected"
            await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        """Receive frames over one connection. Raises LocalError."""
        link = await Link.open(self._path)
        asking = asyncio.create_task(self._subscribe(link))
        try:
            async for news in link.messages():
                if news.topic == "frame":
                    self._take(news.payload)
        finally:
            self.watching = False
            asking.cancel()
            link.close()
            await asyncio.gather(asking, return_exceptions=True)

    async def _subscribe(self, link: Link) -> None:
        try:
            reply = await link.request("subscribe", {"results": True}, ANSWER_S)
        except (Busy, TimeoutError, LocalError) as exc:
            self._error = f"the daemon does not answer: {exc}".removesuffix(": ")
            return
        self.watching = reply.status == "ok"
        self._error = reply.error

    def _take(self, payload: bytes) -> None:
        sent = msgspec.json.decode(payload, type=Sent)
        self._frames.append(Frame(*msgspec.structs.astuple(sent)))
        self._came.set()

    def _rule(self) -> _Smoothing:
        said = self._newest.said("info")
        try:
            return msgspec.json.decode(said or b"{}", type=_Info).config.smoothing
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _Smoothing()
