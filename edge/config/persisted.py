"""Settings that a request made to last: a small file in the state directory.

Written whole or not at all. One that cannot be read is left where it is and not used.
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
    """Return the settings there are."""
    folder = state_folder()
    file = folder / NAME if folder else None
    if file is None:
        return {}
    try:
        return msgspec.json.decode(files.read_text(file), type=Tables)
    except FileNotFoundError:
        return {}
    except OSError as exc:
        log.warning("%s is left out: %s", file, exc.strerror)
    except (msgspec.DecodeError, RecursionError) as exc:
        log.warning("%s is left out: %s", file, exc)
    return {}


def add(tables: Tables) -> None:
    """Keep ``tables`` over what is kept already. Raises ConfigError where it cannot be kept."""
    folder = state_folder()
    if folder is None:
        raise ConfigError("nothing can be kept", expected="a state directory", hint="see systemd")
    file, part = folder / NAME, folder / f"{NAME}.part"
    try:
        with part.open("wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(over(read(), tables))) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
    except OSError as exc:
        raise ConfigError(f"cannot be kept: {exc.strerror}", where=str(file)) from exc
