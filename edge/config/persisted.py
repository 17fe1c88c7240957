"""What requests have changed for good: small files in the state directory.

settings.json  tables that a ``set`` request has persisted
model.json     the model that a ``model`` request has chosen

Each is written whole or not at all. A file that cannot be read is left in place and ignored.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from edge import files
from edge.config import Tables, over, state_folder
from edge.errors import ConfigError

log = logging.getLogger(__name__)
NAME: Final = "settings.json"
CHOICE: Final = "model.json"
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


def add(tables: Tables) -> None:
    """Persist ``tables`` over the settings there are. Raises ConfigError where it cannot."""
    _write(NAME, over(_read(NAME, Tables) or {}, tables), "settings cannot be persisted")


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
    except (msgspec.DecodeError, RecursionError) as exc:
        log.warning("%s is ignored: %s", file, exc)
    return None


def _write(name: str, value: Any, failed: str) -> None:
    file = _file(name)
    if file is None:
        raise ConfigError(
            failed, expected="a state directory", hint="run it as the systemd service"
        )
    part = file.with_name(f"{name}.part")
    try:
        with part.open("wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(value)) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
    except OSError as exc:
        raise ConfigError(f"{failed}: {exc.strerror}", where=str(file)) from exc
