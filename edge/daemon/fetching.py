"""Fetches a signed bundle by request, in a child process; the loop never waits.

Rule 1: off unless bundles.fetch names addresses; no request makes this device a client of others.
Rule 2: one fetch at a time. The answer comes when it is over, and an event for those who did not
        ask.

What is checked, and in which order: edge/model/signed/add.py.
"""

from __future__ import annotations

import time

from edge.config.bundles import is_below, split
from edge.daemon.commands import Pending
from edge.daemon.events import Events
from edge.daemon.run import Run
from edge.errors import ConfigError, EdgeError
from edge.model.signed.fetch import Fetch
from edge.model.signed.fetch_child import Done


class Fetching:
    """Handles `model` with `fetch`."""

    def __init__(self, run: Run, events: Events) -> None:
        self._run, self._events = run, events
        self._fetch: Fetch | None = None
        self._pending = Pending()
        self._begin_s = 0.0

    @property
    def url(self) -> str:
        """What is being fetched, without its query; empty where nothing is."""
        return self._fetch.url.partition("?")[0] if self._fetch else ""

    def begin(self, url: str, sha256: str) -> Pending:
        """Begin a fetch; the answer comes when it is over. Raises EdgeError."""
        bundles = self._run.config.bundles
        if not bundles.fetch:
            raise ConfigError("no model is fetched", hint="bundles.fetch in the config allows it")
        if self._fetch is not None:
            raise ConfigError("another model is being fetched", got=self.url, hint="ask again")
        if not is_below(split(url, "url"), bundles.fetch):
            raise ConfigError(
                "the address is not allowed",
                where="url",
                expected="one below an address of bundles.fetch in the config",
                got=url,
            )
        self._fetch = Fetch(self._run.config, url, sha256)
        self._pending, self._begin_s = Pending(), time.monotonic()
        return self._pending

    def tick(self) -> None:
        """Answer, once it is over."""
        if self._fetch is None:
            return
        try:
            done = self._fetch.poll()
        except EdgeError as exc:
            done = Done(error=str(exc))
        if done is not None:
            self._over(done)

    def close(self) -> None:
        """End a fetch that goes on."""
        if self._fetch is not None:
            self._fetch.close()

    def _over(self, done: Done) -> None:
        url, self._fetch = self.url, None
        seconds = round(time.monotonic() - self._begin_s, 1)
        if done.error:
            line = f"model not added: {done.error}"
            self._events.add("model_refused", line, url=url, error=done.error)
            self._pending.settle({}, done.error)
            return
        figures: dict[str, str | int] = {
            "name": done.name,
            "bytes": done.bytes,
            "serial": done.serial,
            "key": done.key,
        }
        line = f"model {done.name} added, serial {done.serial}, fetched in {seconds} s"
        if done.changed:
            self._events.add("model_added", line, url=url, seconds=seconds, **figures)
        self._pending.settle({**figures, "changed": done.changed}, "")
