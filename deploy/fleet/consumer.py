"""Stores the events of all devices in PostgreSQL, each once: docs/consumers.md.

    python -m deploy.fleet.consumer --config FILE --database CONNINFO --name NAME [--group GROUP]

Several of them with different names share the events of a group. Rule: a message is acknowledged
after the commit, never before; while the database is away the batch in hand is all that is held.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import threading
import time
from typing import Final

from deploy.fleet import program
from deploy.fleet.rows import row
from deploy.fleet.source import Source, Taken
from deploy.fleet.store import Saved, Store, Unavailable
from edge import config
from edge.errors import ConfigError

log = logging.getLogger(__name__)
BATCH_MAX: Final = 1000
LINGER_S: Final = 0.2
"""How long the first message of a batch waits for others."""
LOOK_S: Final = 0.5
"""How often an idle consumer looks whether it shall end."""
RETIRED_S: Final = 10.0
"""With --retire: so long without a message, and the session is empty."""
RETRY_S: Final = (1.0, 30.0)
"""First and longest wait between two tries to store a batch."""
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}\Z")


def parser() -> program.Parser:
    """Return the parser of the command line."""
    parser = program.Parser("edge-fleet-consumer", "the events of all devices into PostgreSQL")
    parser.add_argument("--database", default="", help="libpq's connection string or URI")
    parser.add_argument("--name", required=True, help="of this consumer, the same at every start")
    parser.add_argument("--group", default="store", help="consumers that share the events")
    parser.add_argument("--batch", type=int, default=500, help=f"events, 1 to {BATCH_MAX}")
    parser.add_argument(
        "--retire", action="store_true", help="store what is left of NAME's session, and end it"
    )
    return parser


def run(args: argparse.Namespace, stop: threading.Event) -> None:
    """Store events until ``stop`` is set. Raises EdgeError."""
    for option in ("name", "group"):
        if not NAME.match(getattr(args, option)):
            raise ConfigError(
                "not a name",
                where=f"--{option}",
                expected="letters, digits, `_-`, at most 32, a letter or digit first",
                got=getattr(args, option)[:80],
            )
    program.within(args, batch=BATCH_MAX)
    mqtt = config.load(args.config).mqtt
    if mqtt.protocol != "5":
        raise ConfigError(
            "shared subscriptions need MQTT 5", where="mqtt.protocol", got=mqtt.protocol
        )
    store = Store(args.database)
    store.check()
    base = mqtt.base_topic
    filters = [f"$share/{args.group}/{base}/+/event", f"{base}/+/availability"]
    client_id = f"edge-consumer-{args.group}-{args.name}"
    source = Source(config.broker(mqtt), client_id, filters, args.batch)
    source.begin(retire=args.retire)
    total, left = Saved(), 0
    try:
        left = consume(source, store, stop, total, retire=args.retire)
    finally:
        left += source.end()
        store.close()
        log.info(
            "stored %d events; %d were there already, %d messages set aside, "
            "%d left in the session",
            *(total.events, total.known, total.aside, left),
        )


def consume(
    source: Source, store: Store, stop: threading.Event, total: Saved, *, retire: bool
) -> int:
    """Store batch after batch, and add up ``total``. Return how many of the last are not stored."""
    newest_s = time.monotonic()
    while not stop.is_set():
        if taken := source.take(LOOK_S, LINGER_S):
            if (saved := persist(taken, store, stop)) is None:
                return len(taken)
            source.acknowledge(taken)
            total.add(saved)
            newest_s = time.monotonic()
        elif retire and time.monotonic() - newest_s > RETIRED_S:
            break
    return 0


def persist(taken: list[Taken], store: Store, stop: threading.Event) -> Saved | None:
    """Store a batch, however long the database is away; None if ``stop`` came first."""
    rows = [row(one.incoming) for one in taken]
    wait_s, away = RETRY_S[0], False
    while True:
        try:
            saved = store.save(rows)
        except Unavailable as exc:
            if not away:
                log.warning("%s; %d messages wait, trying again", exc, len(rows))
            away = True
            if stop.wait(wait_s):
                return None
            wait_s = min(2 * wait_s, RETRY_S[1])
            continue
        if away:
            log.info("the database is back")
        return saved


if __name__ == "__main__":
    sys.exit(program.main(parser(), run))
