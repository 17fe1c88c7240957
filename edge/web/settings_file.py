"""Saves settings: in edge.toml where it may be written, else over it, in the state directory.

Rule 1: nothing is written before the config's own rules have taken all of it.
Rule 2: the file before is kept as edge.toml.before; a change that somebody else has made meanwhile
        is never overwritten.
Rule 3: what is saved can be taken back.

What is persisted in the state directory comes before the file: a key that is there is changed there
too. Runs on a thread of work.py.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edge import config as configs
from edge import files, toml
from edge.config import Tables, persisted
from edge.config.load import convert
from edge.errors import ConfigError, boundary
from edge.web.toml_edit import changed

BEFORE: Final = ".before"
CAMERA: Final = (
    *("width", "height", "fps", "rotation", "flip_horizontal", "flip_vertical", "roi"),
    *("pace", "loop", "stall_timeout_s"),
)
"""Keys of [camera] that the page may save, although only a restart takes them."""
NEVER: Final = {
    "model.path": "use the request `model`",
    "model.second": "change it in the file",
    "shadow.model": "use the request `shadow`",
    "cases.path": "change it in the file",
    "homeassistant.prefix": "change it in the file",
}
"""Keys of tables that a reload takes, and what else changes them."""


@dataclass(slots=True)
class Saved:
    """What was saved. where: names of the files; undo: takes it back."""

    where: list[str] = field(default_factory=list)
    undo: list[Callable[[], None]] = field(default_factory=list)

    def take_back(self) -> None:
        """Restore what was there before. Raises ConfigError."""
        for step in reversed(self.undo):
            step()


def check(tables: Tables, path: Path | None) -> None:
    """Raise ConfigError unless all of ``tables`` may be changed, and fit the rest."""
    if not any(tables.values()):
        raise ConfigError("nothing to set", expected=f"one of {', '.join(allowed())}")
    for table, keys in tables.items():
        if table not in allowed():
            expected = f"one of {', '.join(allowed())}"
            raise ConfigError("cannot be set here", where=table, expected=expected)
        for key in keys:
            _check_key(table, key)
    where = str(path) if path else "defaults"
    with boundary(ConfigError, "cannot be set", where):
        below = toml.read(path, ConfigError) if path else {}
        convert(configs.over(below, tables), where)
        convert(configs.over(configs.over(below, persisted.read()), tables), where)


def allowed() -> tuple[str, ...]:
    """Return the tables of which keys can be saved."""
    left_out = ("web", *configs.FILE_ALONE)
    return ("camera", *(table for table in configs.RELOADABLE if table not in left_out))


def save(tables: Tables, path: Path | None) -> Saved:
    """Save what ``check`` has taken. Raises ConfigError; nothing has changed then."""
    saved = Saved()
    try:
        if path is not None and _write(path, tables, saved):
            saved.where.append(path.name)
            there = persisted.settings()
            tables = {
                table: {key: value for key, value in keys.items() if key in there.get(table, {})}
                for table, keys in tables.items()
            }
        if any(tables.values()):
            before = persisted.add(tables)
            saved.undo.append(lambda: persisted.take_back(tables, before))
            saved.where.append(persisted.NAME)
    except ConfigError:
        saved.take_back()
        raise
    return saved


def _check_key(table: str, key: str) -> None:
    where = f"{table}.{key}"
    if where in NEVER:
        raise ConfigError("cannot be set here", where=where, hint=NEVER[where])
    if table == "camera" and key not in CAMERA:
        raise ConfigError(
            "cannot be set here",
            where=where,
            expected=f"one of {', '.join(CAMERA)}",
            hint="change it in the file; [camera.controls] with the request `set`",
        )


def _write(path: Path, tables: Tables, saved: Saved) -> bool:
    """Change the file; return False where it may not be written."""
    real = path.resolve()
    with boundary(ConfigError, "cannot be changed", str(path)):
        before = files.read(real, files.TEXT_MAX_BYTES)
        text = files.decoded(before)
        after = changed(text, tables, str(path)).encode()
        if after == text.encode():
            return True
    try:
        _replace(real.with_name(real.name + BEFORE), before, like=real)
        if files.read(real, files.TEXT_MAX_BYTES) != before:
            raise ConfigError(
                "somebody has changed it meanwhile", where=str(path), hint="try again"
            )
        _replace(real, after, like=real)
    except OSError as exc:
        if isinstance(exc, PermissionError) or exc.errno == errno.EROFS:
            return False
        raise ConfigError(f"cannot be written: {exc.strerror}", where=str(path)) from exc
    saved.undo.append(lambda: _put_back(real, before, after))
    return True


def _put_back(path: Path, before: bytes, after: bytes) -> None:
    """Write the old content, unless somebody has changed the file meanwhile."""
    try:
        if files.read(path, files.TEXT_MAX_BYTES) == after:
            _replace(path, before, like=path)
    except OSError as exc:
        raise ConfigError(f"cannot be put back: {exc.strerror}", where=str(path)) from exc


def _replace(path: Path, content: bytes, like: Path) -> None:
    """Write a file whole or not at all, with mode and owner of ``like``. Raises OSError."""
    status = like.stat()
    part = path.with_name(f".{path.name}.part")
    with contextlib.suppress(FileNotFoundError):
        part.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(part, flags, 0o600)
    try:
        with os.fdopen(file, "wb") as out:
            os.fchmod(file, status.st_mode & 0o777)
            if (os.geteuid(), os.getegid()) != (status.st_uid, status.st_gid):
                with contextlib.suppress(PermissionError):
                    os.fchown(file, status.st_uid, status.st_gid)
            out.write(content)
            out.flush()
            os.fsync(file)
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
