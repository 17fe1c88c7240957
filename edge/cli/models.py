"""`edge models`: the models of this device, for people; the daemon may run meanwhile."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from edge import config as configs
from edge.config import ModelConfig, persisted
from edge.errors import ModelError
from edge.model import installed, store
from edge.model.engine import start


def run(args: argparse.Namespace) -> Iterator[str]:
    """Do what is asked; yield lines to print. Raises EdgeError."""
    _of_the_service()
    yield from ACTIONS[args.action](args).splitlines()


def _list(args: argparse.Namespace) -> str:
    """Return every installed model: name, bytes of an added one, and which is chosen."""
    sizes = {one.reference: one.bytes for one in store.listing()}
    chosen = persisted.choice()
    rows = [
        {"name": name, "bytes": sizes.get(name), "chosen": bool(chosen and chosen.path == name)}
        for name in installed.names()
    ]
    if args.json:
        return json.dumps({"models": rows})
    return "\n".join(
        f"{row['name']}{', chosen by request' if row['chosen'] else ''}"
        + (f", {row['bytes']:,} bytes" if row["bytes"] else "")
        for row in rows
    )


def _add(args: argparse.Namespace) -> str:
    """Prove the model in a folder, copy it; return the name it has now. Raises EdgeError."""
    store.tidy()
    path = Path(args.model)
    if not path.is_dir():
        raise ModelError("not a folder of a model", where=args.model, hint=f"with {installed.CARD}")
    card = start(ModelConfig(path=f"{path.resolve()}")).card
    added = store.add(path, card.name, card.version)
    if args.json:
        return json.dumps({"name": added.reference, "bytes": added.bytes})
    request = json.dumps({"action": "use", "name": added.reference})
    return f"{added.reference} added; the request `model` with {request} uses it"


def _remove(args: argparse.Namespace) -> str:
    """Remove an added model that is not in use; return its name. Raises EdgeError."""
    name, chosen = args.model, persisted.choice()
    if chosen and name in (chosen.path, chosen.before):
        raise ModelError("is in use, or the one before", where=name, hint="use another first")
    path = args.config
    if path is None and configs.SERVICE_CONFIG.exists():
        path = configs.SERVICE_CONFIG
    installed.check_free(name, configs.load(path, settings=persisted.settings()))
    store.remove(name)
    return json.dumps({"removed": name}) if args.json else f"{name} removed"


ACTIONS: Final[dict[str, Callable[[argparse.Namespace], str]]] = {
    "list": _list,
    "add": _add,
    "remove": _remove,
}


def _of_the_service() -> None:
    """Without systemd, the state directory is the service's, if there is one."""
    if installed.STATE.is_dir():
        os.environ.setdefault("STATE_DIRECTORY", str(installed.STATE))
