"""The log lines about the broker, each only once in a while. Runs on the daemon's thread."""

from __future__ import annotations

import logging
import time
from typing import Final

from edge.messages import Seconds

log = logging.getLogger(__name__)
STAYS_S: Final = 5.0
"""A connection that lasts so long ends the outage."""
SOON_S: Final = 60.0
LONGEST_S: Final = 300.0
"""After an outage that follows another so soon, a connection must last twice as long, at most
LONGEST_S."""
REASONS: Final = 5
"""Reasons logged per outage; the rest are DEBUG."""
AGAIN_S: Final = 3600.0
"""A repeated warning is logged again after so long."""
KEYS: Final = 100


class Outage:
    """Logs a line when an outage begins, for each further reason, and at its end.

    A connection that ends at once does not end the outage.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._began_s: Seconds | None = None
        self._up_s: Seconds | None = None
        self._ended_s, self._stays_s = float("-inf"), STAYS_S
        self._failures = 0
        self._reasons: set[str] = set()

    def failed(self, what: str, now_s: Seconds) -> None:
        """Record a failure to connect, or a lost connection. ``what``: for the log."""
        if self._began_s is None:
            soon = now_s - self._ended_s < SOON_S  # it comes and goes: one outage
            self._stays_s = min(2 * self._stays_s, LONGEST_S) if soon else STAYS_S
            self._began_s = now_s
        self._up_s = None
        self._failures += 1
        known = what in self._reasons or len(self._reasons) >= REASONS
        level = logging.DEBUG if known else logging.WARNING
        self._reasons = self._reasons if known else self._reasons | {what}
        log.log(
            level,
            "broker %s: %s; the daemon goes on",
            self._where,
            what,
            extra={"event": "broker_away"},
        )

    def up(self, now_s: Seconds) -> None:
        """Record a connection."""
        self._up_s = now_s
        level = logging.INFO if self._began_s is None else logging.DEBUG
        log.log(level, "broker %s: connected", self._where, extra={"event": "broker_up"})

    def tick(self, now_s: Seconds) -> None:
        """End the outage once the connection has lasted long enough."""
        if self._began_s is None or self._up_s is None or now_s - self._up_s < self._stays_s:
            return
        text = "broker %s: connected again after %.0f s, %d failures"
        values = (self._where, self._up_s - self._began_s, self._failures)
        log.info(text, *values, extra={"event": "broker_up"})
        self._began_s, self._ended_s, self._failures = None, now_s, 0
        self._reasons.clear()


class Seldom:
    """Logs a repeated warning once, and again after AGAIN_S, with a count."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._logged: dict[str, tuple[Seconds, int]] = {}  # key -> when logged, repeats since

    def warn(self, key: str, text: str) -> None:
        """Log ``text``, unless ``key`` was logged in the last AGAIN_S."""
        now_s = time.monotonic()
        at_s, since = self._logged.get(key, (-AGAIN_S, 0))
        if now_s - at_s < AGAIN_S:
            self._logged[key] = at_s, since + 1
            return
        if len(self._logged) >= KEYS:
            self._logged.clear()
        self._logged[key] = now_s, 0
        count = f" ({since} more since the last such line)" if since else ""
        log.warning("broker %s: %s%s", self._where, text, count)
