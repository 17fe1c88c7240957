"""`edge models`: the models of this device, for people; the daemon may run meanwhile."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

from edge import config as configs
from edge import owner
from edge.config import ModelConfig, persisted
from edge.errors import ModelError
from edge.model import installed, source, store
from edge.model.workspace import tidy
from edge.text import escaped

Work = Callable[[], str]
"""What is left to do, as the owner of the store; returns what is printed."""


def prepare(args: argparse.Namespace) -> tuple[Path | None, Callable[[], int]]:
    """Open what only root can read; return the folder that is changed, and the rest. EdgeError."""
    _of_the_service()
    work = ACTIONS[args.action](args)

    def rest() -> int:
        for line in work().splitlines():
            print(escaped(line))
        return 0

    return installed.added() if args.action in CHANGING else None, rest


def _list(args: argparse.Namespace) -> str:
    """Return every installed model: name, bytes and serial of an added one, which is chosen."""
    from edge.model.signed.add import serial_of

    sizes = {one.reference: one.bytes for one in store.listing()}
    chosen = persisted.choice()
    rows = [
        {
            "name": name,
            "bytes": sizes.get(name),
            "serial": serial_of(name),
            "chosen": bool(chosen and chosen.path == name),
        }
        for name in installed.names()
    ]
    if args.json:
        return json.dumps({"models": rows})
    return "\n".join(
        f"{row['name']}{', chosen by request' if row['chosen'] else ''}"
        + (f", {row['bytes']:,} bytes" if row["bytes"] else "")
        + (f", serial {row['serial']}" if row["serial"] else "")
        for row in rows
    )


def _add(args: argparse.Namespace) -> Work:
    """Open a model's folder or a signed bundle; return what proves, copies and names it."""
    config = configs.load(_config(args))  # the file alone says what is trusted
    if args.allow_downgrade and os.geteuid() != 0:
        raise ModelError("only root may add an older bundle", where=args.model)
    is_url = "://" in args.model
    try:
        is_bundle = is_url or Path(args.model).is_file()
    except OSError as exc:  # a folder that only others may enter
        raise ModelError(f"cannot be read: {exc.strerror}", where=args.model) from exc
    return _add_signed(args, config, is_url) if is_bundle else _add_folder(args, config)


def _add_folder(args: argparse.Namespace, config: configs.Config) -> Work:
    path = Path(args.model)
    if not path.is_dir():
        raise ModelError(
            "not a folder of a model, nor a signed bundle",
            where=args.model,
            hint=f"a folder with {installed.CARD}",
        )
    store.check_signed_only(config, args.model)
    if args.sha256 or args.allow_downgrade:
        raise ModelError("--sha256 and --allow-downgrade are for signed bundles", where=args.model)
    opened = source.opened(path, for_other=owner.will_become(installed.added()))

    def name(copy: Path) -> str:
        card = store.prove(copy, args.model, ModelConfig())
        return f"{card.name}@{card.version or 1}"

    def work() -> str:
        tidy()
        stored = store.install(opened, args.model, name)
        return _added(args, "", {"name": stored.reference, "bytes": stored.bytes})

    return work


def _add_signed(args: argparse.Namespace, config: configs.Config, is_url: bool) -> Work:
    from edge.model.signed import add

    policy = add.policy(config, args.sha256 or "", allow_downgrade=args.allow_downgrade)
    if is_url:
        from edge.model.signed import download  # which imports TLS

        bundle = download.opened(args.model, ca_file=config.bundles.ca_file)
    else:
        bundle = add.opened(Path(args.model))

    def work() -> str:
        added = add.add(bundle, args.model, policy)
        figures = {"name": added.name, "bytes": added.bytes, "serial": added.serial}
        how = f", serial {added.serial}, signed by {added.key}"
        how = how if added.changed else f"{how}: it was there already"
        return _added(args, how, {**figures, "key": added.key, "changed": added.changed})

    return work


def _added(args: argparse.Namespace, how: str, figures: dict[str, Any]) -> str:
    if args.json:
        return json.dumps(figures)
    request = json.dumps({"action": "use", "name": figures["name"]})
    return f"{figures['name']} added{how}; the request `model` with {request} uses it"


def _sign(args: argparse.Namespace) -> str:
    """Sign the model in a folder; return where the bundle is. Raises EdgeError."""
    from edge.model.signed.make import Terms, make

    path = Path(args.model)
    if not path.is_dir():
        raise ModelError("not a folder of a model", where=args.model, hint=f"with {installed.CARD}")
    terms = Terms(args.serial or 0, args.expires, tuple(args.device or ()))
    out, what = make(path, args.key, terms, args.out)
    if args.json:
        figures = {"file": str(out), "name": what.reference, "serial": what.serial}
        return json.dumps(figures | {"bytes": out.stat().st_size})
    return f"{out}: {what.reference}, serial {what.serial}"


def _remove(args: argparse.Namespace) -> Work:
    """Read the config; return what removes an added model that is not in use."""
    name, path = args.model, _config(args)
    tables = configs.read_tables(path)

    def work() -> str:
        chosen = persisted.choice()
        if chosen and name in (chosen.path, chosen.before):
            raise ModelError("is in use, or the one before", where=name, hint="use another first")
        config = configs.layered(path, tables, settings=persisted.settings())
        installed.check_free(name, config)
        store.remove(name)
        return json.dumps({"removed": name}) if args.json else f"{name} removed"

    return work


ACTIONS: Final[dict[str, Callable[[argparse.Namespace], Work]]] = {
    "list": lambda args: lambda: _list(args),
    "add": _add,
    "remove": _remove,
    "sign": lambda args: lambda: _sign(args),
}
CHANGING: Final = ("add", "remove")


def _config(args: argparse.Namespace) -> Path | None:
    """Return the config that was named, else the service's; None where there is none."""
    if args.config is not None or not configs.SERVICE_CONFIG.exists():
        return cast("Path | None", args.config)
    return configs.SERVICE_CONFIG


def _of_the_service() -> None:
    """Without systemd, the state directory is the service's, if there is one."""
    if installed.STATE.is_dir():
        os.environ.setdefault("STATE_DIRECTORY", str(installed.STATE))
