"""The ledger beside a CSV: each device's state, its credential until it is on an SD card.

    ready --begin--> writing --end--> used          revoked: its credential is no longer valid
      ^-----------replace-------------'

Rule 1: one process at a time; the folder is locked while a Ledger is open.
Rule 2: a change is on the disk before the call returns: a power cut shows `writing`, which is
        neither ready nor used, and which only a person can decide.
Rule 3: what was used is forgotten: of a credential that is on an SD card only a keyed checksum
        remains, by which another use is refused.

SQLite; runs on Debian's own python3, without this project's packages.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from deploy.runtime.pins import BuildError

TABLES: Final = """
create table meta (key text primary key, value text not null) strict;
create table device (
    name text primary key, number integer not null, host text not null, state text not null,
    digest text not null, credential text not null, files text not null, login text not null,
    serial text not null, mark text not null, sdcard text not null default ''
) strict;
create index ready on device (state, number);
create table spent (mark text primary key, name text not null) strict;
"""
FIELDS: Final = "name, number, host, state, digest, credential, files, login, serial, mark, sdcard"
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Device:
    """One device.

    number      its row; -1: it is no longer in the CSV
    digest      checksum of its row and of CONFIG
    credential  JSON: the password, or certificate and key; empty once it is used
    files       JSON: what is written to its SD card; empty once it is used
    login       its line in the broker's file of passwords; empty with a certificate
    serial      of the certificate, by the site's own authority; else empty
    mark        keyed checksum of the credential
    sdcard      when it was written and to which disk
    """

    name: str
    number: int
    host: str
    state: str
    digest: str
    credential: str
    files: str
    login: str
    serial: str
    mark: str
    sdcard: str = ""


def folder(csv: Path) -> Path:
    """Return the folder beside a CSV."""
    return csv.with_suffix(".credentials")


class Ledger:
    """The ledger of ``csv``; locked until it is closed. Raises BuildError.

    make  create it where there is none
    """

    def __init__(self, csv: Path, *, make: bool = False) -> None:
        if not csv.name:
            raise BuildError(66, "not a CSV", where=str(csv))
        self.folder = folder(csv)
        path = self.folder / "ledger.sqlite"
        if make:
            self.folder.mkdir(mode=0o700, exist_ok=True)
        elif not path.is_file():
            hint = f"run `make credentials CSV={csv}`"
            raise BuildError(66, "no ledger", where=str(path), hint=hint)
        self._lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._db = _opened(path)
        except BlockingIOError as exc:
            os.close(self._lock)
            raise BuildError(73, "another run uses it", where=str(self.folder)) from exc
        except BaseException:
            os.close(self._lock)
            raise
        self._key = bytes.fromhex(self.meta("key"))

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Close it, and give up the lock. Raises BuildError in the place of an error of SQLite."""
        self._db.close()
        os.close(self._lock)
        if isinstance(error, sqlite3.Error):
            raise BuildError(74, f"the ledger: {error}", where=str(self.folder)) from error

    def checksum(self, *parts: str) -> str:
        """Return a checksum of ``parts`` that says nothing without this ledger's key."""
        text = "\0".join(f"{len(part)} {part}" for part in parts)
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()

    def meta(self, key: str, value: str | None = None) -> str:
        """Return a value, after setting it where one is given."""
        if value is not None:
            with self._db:
                self._db.execute("insert or replace into meta values (?, ?)", (key, value))
        row = self._db.execute("select value from meta where key = ?", (key,)).fetchone()
        return row[0] if row else ""

    def devices(self, state: str = "%") -> Iterator[Device]:
        """Yield the devices in the order of their rows."""
        command = f"select {FIELDS} from device where state like ? order by number, name"
        for row in self._db.execute(command, (state,)):
            yield Device(*row)

    def device(self, name: str) -> Device | None:
        """Return one device."""
        row = self._db.execute(f"select {FIELDS} from device where name = ?", (name,)).fetchone()
        return Device(*row) if row else None

    def next(self) -> Device | None:
        """Return the first device that is ready and in the CSV."""
        command = f"select {FIELDS} from device where state = 'ready' and number >= 0"
        row = self._db.execute(f"{command} order by number limit 1").fetchone()
        return Device(*row) if row else None

    def count(self, state: str) -> int:
        """Return how many devices of the CSV are in a state."""
        command = "select count(*) from device where state = ? and number >= 0"
        return int(self._db.execute(command, (state,)).fetchone()[0])

    def spender(self, mark: str) -> str:
        """Return the name of the device that a credential was made for; empty if new."""
        row = self._db.execute("select name from spent where mark = ?", (mark,)).fetchone()
        return row[0] if row else ""

    def store(self, devices: list[Device]) -> None:
        """Store devices, all or none; those that are not named are no longer in the CSV."""
        with self._db:
            self._db.execute("update device set number = -1")
            places = ", ".join("?" * len(FIELDS.split(",")))
            for one in devices:
                row = tuple(getattr(one, field) for field in FIELDS.split(", "))
                self._db.execute(f"insert or replace into device values ({places})", row)
                self._db.execute("insert or ignore into spent values (?, ?)", (one.mark, one.name))

    def begin(self, device: Device) -> None:
        """Note that its credential may be on an SD card from now on."""
        self._set(device, "state = 'writing'")

    def end(self, device: Device, sdcard: str) -> None:
        """Note that its SD card is written and verified; forget its credential."""
        self._set(device, "state = 'used', credential = '', files = '', sdcard = ?", sdcard)

    def revoke(self, device: Device) -> None:
        """Note that its credential is no longer valid; forget it."""
        self._set(device, "state = 'revoked', credential = '', files = '', login = ''")

    def _set(self, device: Device, what: str, *values: str) -> None:
        with self._db:
            self._db.execute(f"update device set {what} where name = ?", (*values, device.name))


def _opened(path: Path) -> sqlite3.Connection:
    """Open the file, its owner's alone; create it where it is missing."""
    if not path.exists():
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        db = sqlite3.connect(path)
        db.execute("pragma synchronous = extra")  # the folder too
        db.execute("pragma secure_delete = on")
        version = db.execute("pragma user_version").fetchone()[0]
        if version == 0:
            key = f"insert into meta values ('key', '{secrets.token_hex(32)}');"
            db.executescript(f"begin; {TABLES} {key} pragma user_version = {VERSION}; commit;")
    except sqlite3.DatabaseError as exc:
        raise BuildError(65, f"not a ledger: {exc}", where=str(path)) from exc
    if version not in (0, VERSION):
        raise BuildError(65, "a ledger of another version", where=str(path), got=str(version))
    return db
