"""Tells which rows of the spool's database are events, and moves the others out of the way.

Rule: nothing is held before its size is known. While rows are checked, SQLite itself refuses values
longer than a topic may be; of payloads it returns only types and lengths.

Source: MQTT 5.0, 1.5.4 (strings), 4.7 (topics); SQLite, sqlite3_limit, SQLITE_LIMIT_LENGTH.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from typing import Final, NamedTuple

TOPIC_MAX_BYTES: Final = 65_535
PAYLOAD_MAX_BYTES: Final = 268_000_000
"""An MQTT packet has at most 268,435,455, topic and properties included."""
NUMBER_MAX: Final = 2**62
"""Larger numbers leave too little room below SQLite's largest, 2^63-1."""
ASIDE_ROWS: Final = 100
"""Rows kept in ``set_aside``, the newest; one longer than CUT_BYTES is cut to CLIP_BYTES."""
CUT_BYTES: Final = TOPIC_MAX_BYTES + 1000
CLIP_BYTES: Final = 4096
CHUNK: Final = 100
LARGEST: Final = 2**63 - 1

EVENTS: Final = (
    "CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY, topic TEXT NOT NULL,"
    " qos INTEGER NOT NULL, payload BLOB NOT NULL)"
)
ASIDE: Final = (
    "CREATE TABLE IF NOT EXISTS set_aside (number INTEGER, topic, qos, payload, reason TEXT)"
)
_KNOWN: Final = {
    "events": re.compile(
        r"createtable['\"`\[]?events['\"`\]]?\(numberintegerprimarykey(autoincrement)?(notnull)?,"
        r"topic(text)?(notnull)?,qos(integer)?(notnull)?,payload(blob)?(notnull)?\)"
    ),
    "set_aside": re.compile(r"createtableset_aside\(numberinteger,topic,qos,payload,reasontext\)"),
}
_SCAN: Final = (
    "SELECT number, CASE typeof(topic) WHEN 'text' THEN topic END,"
    " CASE typeof(qos) WHEN 'integer' THEN qos END,"
    " CASE typeof(payload) WHEN 'blob' THEN length(payload) END"
    " FROM events WHERE number <= ? ORDER BY number DESC LIMIT ?"
)
_UNFIT: Final = re.compile("[+#\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")
"""Wildcards, and characters for which brokers end the connection."""


class Row(NamedTuple):
    """One row. fault: why it is not an event, empty if it is one; bytes: of its payload."""

    number: int
    bytes: int
    fault: str


def foreign(database: sqlite3.Connection) -> str:
    """Return the first object in ``database`` that is not the spool's, "" if there is none."""
    objects = database.execute(
        "SELECT lower(type), lower(name), lower(tbl_name), sql FROM sqlite_master"
        r" WHERE name NOT LIKE 'sqlite\_%' ESCAPE '\' LIMIT 1000"
    ).fetchall()
    rows = [[str(value or b"", "utf-8", "replace") for value in row] for row in objects]
    for kind, name, table, text in rows:
        known = _KNOWN.get(table) or _KNOWN.get(name)
        if known and not (kind == "table" and known.fullmatch(re.sub(r"\s+", "", text).lower())):
            return f"{kind} {name}"
    own = not rows or any(name == "events" for _, name, _, _ in rows)
    return "" if own else f"{rows[0][0]} {rows[0][1]}"


def fault(topic: bytes | None, qos: int | None, size: int | None, bytes_max: int) -> str:
    """Return why a row is not an event, else "". None: of another type. size: payload bytes."""
    if topic is None:
        return "topic is not text"
    if not 0 < len(topic) <= TOPIC_MAX_BYTES:
        return f"topic is not 1 to {TOPIC_MAX_BYTES} bytes long"
    try:
        text = topic.decode()
    except UnicodeDecodeError:
        return "topic is not UTF-8"
    if _UNFIT.search(text):
        return "topic has a wildcard or a control character"
    if qos not in (0, 1, 2):
        return "qos is not 0, 1 or 2"
    if size is None:
        return "payload is not a blob"
    if size > (most := min(bytes_max, PAYLOAD_MAX_BYTES)):
        return f"payload has {size} bytes, expected at most {most}"
    return ""


def judged(database: sqlite3.Connection, bytes_max: int) -> Iterator[list[Row]]:
    """Yield all rows in chunks, the largest number first. Raises sqlite3.Error.

    A chunk's rows may be removed before the next is taken.
    """
    below, rows = LARGEST, CHUNK
    while True:
        try:
            chunk = database.execute(_SCAN, (below, rows)).fetchall()
        except sqlite3.DataError:  # a topic among them exceeds the limit: find it
            if rows > 1:
                rows //= 2
                continue
            (number,) = database.execute(
                "SELECT max(number) FROM events WHERE number <= ?", (below,)
            ).fetchone()
            chunk, rows = [(number, bytes(TOPIC_MAX_BYTES + 1), None, None)], CHUNK
        if not chunk:
            return
        yield [_row(row, bytes_max) for row in chunk]
        if (below := chunk[-1][0] - 1) < -LARGEST:
            return


def move(database: sqlite3.Connection, rows: list[Row], room: int = ASIDE_ROWS) -> None:
    """Move the first ``room`` of ``rows`` into ``set_aside``, remove all. Raises sqlite3.Error."""
    database.execute(ASIDE)
    for number, _, why in rows[:room]:
        try:
            database.execute(
                "INSERT INTO set_aside SELECT number, topic, qos, payload, ? FROM events"
                " WHERE number = ?",
                (why, number),
            )
        except sqlite3.DataError:  # too long to hold
            clipped = [_beginning(database, column, number) for column in ("topic", "payload")]
            database.execute(
                "INSERT INTO set_aside VALUES (?, ?, NULL, ?, ?)", (number, *clipped, why)
            )
    database.executemany("DELETE FROM events WHERE number = ?", [(row.number,) for row in rows])
    database.execute(
        "DELETE FROM set_aside WHERE rowid <= (SELECT max(rowid) FROM set_aside) - ?",
        (ASIDE_ROWS,),
    )


def _row(row: tuple[int, bytes | None, int | None, int | None], bytes_max: int) -> Row:
    number, topic, qos, size = row
    if not 0 < number <= NUMBER_MAX:
        return Row(number, 0, f"number is not in 1 to {NUMBER_MAX}")
    return Row(number, size or 0, fault(topic, qos, size, bytes_max))


def _beginning(database: sqlite3.Connection, column: str, number: int) -> bytes | None:
    try:
        with database.blobopen("events", column, number, readonly=True) as blob:
            return blob.read(CLIP_BYTES)
    except (sqlite3.Error, OverflowError):  # NULL; a number too large for Python
        return None
