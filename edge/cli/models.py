"""`edge models`: the models of this device, for people; the daemon may run meanwhile."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge.config import ModelConfig, persisted
from edge.errors import ModelError
from edge.model import installed, store
from edge.model.engine import start


def listing(_: str, as_json: bool) -> str:
    """Return every installed model: name, bytes of an added one, and which is chosen."""
    _of_the_service()
    sizes = {one.reference: one.bytes for one in store.listing()}
    chosen = persisted.choice()
    rows = [
        {"name": name, "bytes": sizes.get(name), "chosen": bool(chosen and chosen.path == name)}
        for name in installed.names()
    ]
    if as_json:
        return json.dumps({"models": rows})
    return "\n".join(
        f"{row['name']}{', chosen by request' if row['chosen'] else ''}"
        + (f", {row['bytes']:,} bytes" if row["bytes"] else "")
        for row in rows
    )


def add(source: str, as_json: bool) -> str:
    """Prove the model in a folder, copy it; return the name it has now. Raises EdgeError."""
    _of_the_service()
    store.tidy()
    path = Path(source)
    if not path.is_dir():
        raise ModelError("not a folder of a model", where=source, hint=f"with {installed.CARD}")
    card = start(ModelConfig(path=f"{path.resolve()}")).card
    added = store.add(path, card.name, card.version)
    if as_json:
        return json.dumps({"name": added.reference, "bytes": added.bytes})
    request = json.dumps({"action": "use", "name": added.reference})
    return f"{added.reference} added; the request `model` with {request} uses it"


def remove(name: str, as_json: bool) -> str:
    """Remove an added model that is not in use; return its name. Raises EdgeError."""
    _of_the_service()
    chosen = persisted.choice()
    if chosen and name in (chosen.path, chosen.before):
        raise ModelError("is in use, or the one before", where=name, hint="use another first")
    store.remove(name)
    return json.dumps({"removed": name}) if as_json else f"{name} removed"


ACTIONS: Final[dict[str, Callable[[str, bool], str]]] = {
    "list": listing,
    "add": add,
    "remove": remove,
}


def _of_the_service() -> None:
    """Without systemd, the state directory is the service's, if there is one."""
    if installed.STATE.is_dir():
        os.environ.setdefault("STATE_DIRECTORY", str(installed.STATE))
