"""What requests have changed for good: small files in the state directory.

settings.json  tables that a ``set`` request has persisted
model.json     the model that a ``model`` request has chosen

Each is written whole or not at all. A file that cannot be read is left in place and ignored. Daemon
and page change the settings under a lock: neither loses what the other has persisted.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from edge import files
from edge.config import Tables, over, state_folder
from edge.errors import ConfigError

log = logging.getLogger(__name__)
NAME: Final = "settings.json"
CHOICE: Final = "model.json"
LOCK_S: Final = 0.5
"""Longest wait for it: the daemon's loop waits meanwhile."""
Kept = TypeVar("Kept")


class Choice(msgspec.Struct, frozen=True):
    """A model that a request has chosen, instead of what the config says.

    path     of [model]
    before   the model that it replaced
    chosen   whether that was chosen too, else the config's
    until_s  Unix time at which it has proven itself; 0: it has
    starts   of the daemon since it was chosen
    """

    path: str
    before: str = ""
    chosen: bool = False
    until_s: float = 0.0
    starts: int = 0


def read() -> Tables:
    """Return the persisted settings and the chosen model; empty where there are none."""
    tables = _read(NAME, Tables) or {}
    chosen = choice()
    return over(tables, {"model": {"path": chosen.path}}) if chosen else tables


def settings() -> Tables:
    """Return the persisted settings alone; empty where there are none."""
    return _read(NAME, Tables) or {}


def add(tables: Tables) -> Tables:
    """Persist ``tables`` over the settings there are. Raises ConfigError where it cannot.

    Return what these keys were before; a key that was not persisted is left out.
    """
    with _locked():
        before = settings()
        _write(NAME, over(before, tables), "settings cannot be persisted")
    return {
        table: {key: before[table][key] for key in keys if key in before.get(table, {})}
        for table, keys in tables.items()
    }


def take_back(tables: Tables, before: Tables) -> None:
    """Undo an ``add`` of ``tables`` that has returned ``before``. Raises ConfigError."""
    with _locked():
        now = settings()
        for table, keys in tables.items():
            kept = {k: value for k, value in now.get(table, {}).items() if k not in keys}
            now[table] = kept | before.get(table, {})
        now = {table: keys for table, keys in now.items() if keys}
        _write(NAME, now, "settings cannot be persisted")


def choice() -> Choice | None:
    """Return the chosen model; None where the config decides."""
    return _read(CHOICE, Choice)


def choose(chosen: Choice | None) -> None:
    """Persist a choice; None: the config decides again. Raises ConfigError where it cannot."""
    if chosen is not None:
        _write(CHOICE, chosen, "the choice of a model cannot be persisted")
        return
    folder = state_folder()
    try:
        if folder is not None:
            (folder / CHOICE).unlink(missing_ok=True)
    except OSError as exc:
        reason = f"the choice of a model cannot be removed: {exc.strerror}"
        raise ConfigError(reason, where=str(folder)) from exc


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Keep other processes from changing the settings. Raises ConfigError where another one does.

    The lock is on the state directory; without one, ``_write`` says so.
    """
    folder, file = state_folder(), -1
    try:
        if folder is not None:
            with contextlib.suppress(OSError):
                file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            end_s = time.monotonic() + LOCK_S
            while file >= 0 and not _try(file):
                if time.monotonic() >= end_s:
                    reason = "settings are being changed by another process"
                    raise ConfigError(reason, where=str(folder), hint="try again")
                time.sleep(LOCK_S / 100)
        yield
    finally:
        if file >= 0:
            os.close(file)


def _try(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _file(name: str) -> Path | None:
    folder = state_folder()
    return folder / name if folder else None


def _read(name: str, kind: type[Kept]) -> Kept | None:
    file = _file(name)
    if file is None:
        return None
    try:
        return msgspec.json.decode(files.read_text(file), type=kind)
    except FileNotFoundError:
        return None
    except OSError as exc:
        log.warning("%s is ignored: %s", file, exc.strerror)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        log.warning("%s is ignored: %s", file, exc)
    return None


def _write(name: str, value: Any, failed: str) -> None:
    file = _file(name)
    if file is None:
        raise ConfigError(
            failed, expected="a state directory", hint="run it as the systemd service"
        )
    try:
        files.replace(file, msgspec.json.format(msgspec.json.encode(value)) + b"\n")
    except OSError as exc:
        raise ConfigError(f"{failed}: {exc.strerror}", where=str(file)) from exc
