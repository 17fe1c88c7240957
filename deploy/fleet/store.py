"""PostgreSQL: rows in batches, each event once whatever is delivered twice.

Only this file imports psycopg, and translates what it raises:

    Unavailable  the database is away, restarts, is full, or gave way to a deadlock: try again
    StoreError   anything else, such as a missing table: status 74, EX_IOERR
    ConfigError  the text of --database is no connection string: status 78

A row that PostgreSQL refuses (a NUL in a text, a constraint of the operator's own) is set aside
alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from deploy.fleet.rows import Aside, Event, Presence, Row, aside
from edge.errors import ConfigError, EdgeError

ASIDE_MAX: Final = 10_000
"""Rows of `set_aside`."""
LOCK: Final = 7_368_261
"""Advisory lock: one consumer at a time changes `set_aside`."""
DEFAULTS: Final = {
    "connect_timeout": "10",
    "tcp_user_timeout": "30000",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "application_name": "edge-consumer",
}
"""Where --database does not say otherwise; with them a server that vanishes is noticed."""
EVENTS: Final = """
INSERT INTO event (device, id, type, before, after, evidence, seq, at)
SELECT device, id, type, before, after, evidence, seq, to_timestamp(at_s)
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::jsonb[], %s::bigint[],
    %s::float8[]) AS row (device, id, type, before, after, evidence, seq, at_s)
ON CONFLICT (device, id) DO NOTHING"""
PRESENCE: Final = """
INSERT INTO availability (device, online) SELECT * FROM unnest(%s::text[], %s::boolean[])
ON CONFLICT (device) DO UPDATE SET online = excluded.online, since = excluded.since
WHERE availability.online IS DISTINCT FROM excluded.online"""
PURGED: Final = "DELETE FROM availability WHERE device = ANY(%s)"
SET_ASIDE: Final = """
INSERT INTO set_aside (digest, topic, reason, payload, last)
VALUES (%s, %s, %s, %s, clock_timestamp())
ON CONFLICT (digest) DO UPDATE SET times = set_aside.times + 1, last = excluded.last"""
MAKE_ROOM: Final = """
WITH removed AS (
    DELETE FROM set_aside WHERE digest IN (
        SELECT digest FROM set_aside ORDER BY last DESC OFFSET %s)
    RETURNING times)
INSERT INTO set_aside_removed (times)
SELECT sum(times) FROM removed HAVING count(*) > 0
ON CONFLICT (single) DO UPDATE SET times = set_aside_removed.times + excluded.times"""
TABLES: Final = "SELECT id FROM event LIMIT 0"


class StoreError(EdgeError, OSError):
    """The database cannot be used as it is."""

    exit_status = 74


class Unavailable(StoreError):
    """The database is away for now."""


@dataclass(slots=True)
class Saved:
    """Messages: new events, those that were there already, set aside, of availability."""

    events: int = 0
    known: int = 0
    aside: int = 0
    presence: int = 0

    def add(self, other: Saved) -> None:
        """Add the figures of another batch."""
        self.events += other.events
        self.known += other.known
        self.aside += other.aside
        self.presence += other.presence


class Store:
    """One connection; made when it is needed.

    conninfo  libpq's connection string or URI. Raises ConfigError where it is none.
    """

    def __init__(self, conninfo: str) -> None:
        try:
            given = conninfo_to_dict(conninfo)
        except psycopg.ProgrammingError as exc:
            raise ConfigError(
                "not a connection string",
                where="--database",
                expected="host=/run/postgresql dbname=fleet, or postgresql://HOST/fleet",
                hint=re.sub(r'"[^"]*"', "...", str(exc)),  # it may quote a password
            ) from exc
        self._arguments = {**DEFAULTS, **given}
        server = given.get("host") or given.get("hostaddr") or "its default socket"
        self._where = f"database {given.get('dbname') or 'of the default name'} on {server}"
        self._connection: Any = None

    def check(self) -> None:
        """Connect, and look for the tables. Raises StoreError."""
        with _Translated(self):
            self._connected().execute(TABLES)
            self._connection.rollback()

    def save(self, rows: list[Row]) -> Saved:
        """Store a batch in one transaction. Raises StoreError: then nothing of it is stored."""
        events = [one for one in rows if isinstance(one, Event)]
        events.sort(key=lambda one: (one.device, one.id))  # the same order everywhere: no deadlock
        presence = {one.device: one.online for one in rows if isinstance(one, Presence)}
        asides = [one for one in rows if isinstance(one, Aside)]
        with _Translated(self):
            connection = self._connected()
            with connection.transaction():
                stored, refused = self._events(events)
                asides += refused
                self._presence(presence)
                if asides:
                    self._asides(asides)
        known = len(events) - len(refused) - stored
        return Saved(stored, known, len(asides), len(presence))

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def unavailable(self, exc: psycopg.Error) -> StoreError:
        """Return what an error of psycopg is to the caller, and drop a broken connection."""
        text = " ".join(str(exc).split()) or type(exc).__name__
        passes = isinstance(exc, psycopg.OperationalError | psycopg.InterfaceError)
        if self._connection is None or self._connection.broken or passes:
            self.close()
        hint = ""
        if isinstance(exc, psycopg.errors.UndefinedTable):
            hint = "psql -f deploy/fleet/schema.sql makes the tables"
        return (Unavailable if passes else StoreError)(text, where=self._where, hint=hint)

    def _connected(self) -> Any:
        if self._connection is None:
            self._connection = psycopg.connect(**self._arguments)
        return self._connection

    def _events(self, events: list[Event]) -> tuple[int, list[Aside]]:
        """Return how many were new, and those that PostgreSQL refuses."""
        if not events:
            return 0, []
        try:
            with self._connection.transaction():
                return self._insert(events), []
        except (psycopg.DataError, psycopg.IntegrityError) as exc:
            if len(events) == 1:
                return 0, [aside(events[0].incoming, f"refused by PostgreSQL: {exc}")]
        half = len(events) // 2  # a few bad rows among hundreds are found in a few steps
        first, second = self._events(events[:half]), self._events(events[half:])
        return first[0] + second[0], first[1] + second[1]

    def _insert(self, events: list[Event]) -> int:
        columns: Iterable[Any] = zip(
            *(
                (e.device, e.id, e.type, e.before, e.after, e.evidence, e.seq, e.at_s)
                for e in events
            ),
            strict=True,
        )
        return int(self._connection.execute(EVENTS, [list(c) for c in columns]).rowcount)

    def _presence(self, presence: dict[str, bool | None]) -> None:
        there = sorted((device, up) for device, up in presence.items() if up is not None)
        if there:
            self._connection.execute(PRESENCE, [list(c) for c in zip(*there, strict=True)])
        if gone := sorted(device for device, up in presence.items() if up is None):
            self._connection.execute(PURGED, [gone])

    def _asides(self, asides: list[Aside]) -> None:
        self._connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        for one in asides:
            values = [one.digest, one.topic, one.reason, one.payload]
            self._connection.execute(SET_ASIDE, values)
        self._connection.execute(MAKE_ROOM, [ASIDE_MAX])


class _Translated:
    """Turns what psycopg raises into StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Translate."""
        if isinstance(error, psycopg.Error):
            raise self._store.unavailable(error) from error
