"""The daemon, as the web process knows it: connected again whenever it is there.

What comes is kept in ``newest`` and passed on to readers of ``live``. Runs on the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from edge.errors import LocalError
from edge.web.answers import Refused, too_many
from edge.web.link import Busy, Link, News, Reply
from edge.web.live import Live, event
from edge.web.newest import KEPT, Newest

log = logging.getLogger(__name__)
AGAIN_S: Final = 1.0
"""Between two tries to connect."""
ANSWER_S: Final = 10.0
SLOW_S: Final = 120.0
"""Longest wait for an answer; for one that proves a model first."""
SLOW: Final = frozenset(("reload", "model", "shadow"))
PICTURE_S: Final = 0.25
"""A picture that is younger is given to anyone who asks."""


class Device:
    """One daemon. path: of its local socket."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._link: Link | None = None
        self.newest = Newest(time.monotonic())
        self.takers: list[Callable[[News], None]] = []
        """Called with every message; none raises."""
        self.live = Live(self._current, self.daemon)
        self._picture: tuple[float, bytes] | None = None
        self._taking: asyncio.Task[bytes] | None = None

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            try:
                link = await Link.open(self._path)
                try:
                    self._turn(link, "")
                    async for news in link.messages():
                        self._take(news)
                finally:
                    link.close()
            except LocalError as exc:
                self._turn(None, str(exc))
            except Exception as exc:  # the page must outlive whatever comes
                log.error("the local socket gave something unexpected: %r", exc)
                self._turn(None, f"{self._path}: no daemon of this kind")
            await asyncio.sleep(AGAIN_S)

    async def request(self, command: str, payload: dict[str, Any]) -> Reply:
        """Return the daemon's answer. Raises Refused, 429, 503 or 504."""
        if self._link is None:
            raise Refused(503, f"the daemon is away: {self.newest.error}", {"Retry-After": "2"})
        try:
            wait_s = SLOW_S if command in SLOW else ANSWER_S
            return await self._link.request(command, payload, wait_s)
        except Busy as exc:
            raise too_many("too many requests wait for the daemon", 1.0) from exc
        except TimeoutError as exc:
            raise Refused(504, f"the daemon does not answer {command} in {wait_s:.0f} s") from exc
        except LocalError as exc:
            raise Refused(503, str(exc), {"Retry-After": "2"}) from exc

    async def snapshot(self) -> bytes:
        """Return a JPEG, at most PICTURE_S old; one request serves all who wait. Raises Refused."""
        if self._picture and time.monotonic() - self._picture[0] < PICTURE_S:
            return self._picture[1]
        if self._taking is None or self._taking.done():
            self._taking = asyncio.create_task(self._take_picture())
        return await asyncio.shield(self._taking)  # one who leaves does not stop it

    def daemon(self) -> dict[str, Any]:
        """Return how the daemon is reached."""
        return {"time_s": round(time.time(), 3), **self.newest.daemon(time.monotonic())}

    def close(self) -> None:
        """End every stream."""
        self.live.end()

    async def _take_picture(self) -> bytes:
        self._picture = None
        reply = await self.request("snapshot", {})
        if reply.status != "ok" or reply.picture is None:
            raise Refused(409, reply.error or "the daemon gave no picture")
        self._picture = time.monotonic(), reply.picture
        return reply.picture

    def _turn(self, link: Link | None, error: str) -> None:
        """Note the connection, and say so once, in the log and to readers."""
        self._link = link
        if self.newest.turn(link is not None, error, time.monotonic()):
            self.live.publish(event("daemon", self.daemon()))
            if link:
                log.info("connected to the daemon at %s", self._path)
            else:
                log.warning("the daemon is away: %s; trying again", error)

    def _take(self, news: News) -> None:
        self.newest.take(news, time.monotonic(), time.time())
        for take in self.takers:
            take(news)
        if news.topic in KEPT or news.topic == "event":
            self.live.publish(self._event(news.topic))

    def _current(self) -> list[bytes]:
        """Return what a new reader gets first."""
        topics = [topic for topic in KEPT if self.newest.said(topic) is not None]
        return [event("daemon", self.daemon()), *map(self._event, topics)]

    def _event(self, topic: str) -> bytes:
        if topic == "event":
            return event(topic, {"age_s": 0.0, "payload": self.newest.events[-1]["payload"]})
        age_s = self.newest.age_s(topic, time.monotonic())
        return event(topic, {"age_s": age_s, "payload": self.newest.said(topic)})
