"""Settings persisted by a ``set`` request: a small file in the state directory.

Written whole or not at all. A file that cannot be read is left in place and ignored.
"""

from __future__ import annotations

import logging
import os
from typing import Final

import msgspec

from edge import files
from edge.config import Tables, over, state_folder
from edge.errors import ConfigError

log = logging.getLogger(__name__)
NAME: Final = "settings.json"


def read() -> Tables:
    """Return the persisted settings; empty where there are none."""
    folder = state_folder()
    file = folder / NAME if folder else None
    if file is None:
        return {}
    try:
        return msgspec.json.decode(files.read_text(file), type=Tables)
    except FileNotFoundError:
        return {}
    except OSError as exc:
        log.warning("%s is ignored: %s", file, exc.strerror)
    except (msgspec.DecodeError, RecursionError) as exc:
        log.warning("%s is ignored: %s", file, exc)
    return {}


def add(tables: Tables) -> None:
    """Persist ``tables`` over the settings there are. Raises ConfigError where it cannot."""
    folder = state_folder()
    if folder is None:
        raise ConfigError(
            "settings cannot be persisted",
            expected="a state directory",
            hint="run it as the systemd service",
        )
    file, part = folder / NAME, folder / f"{NAME}.part"
    try:
        with part.open("wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(over(read(), tables))) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
    except OSError as exc:
        reason = f"settings cannot be persisted: {exc.strerror}"
        raise ConfigError(reason, where=str(file)) from exc
