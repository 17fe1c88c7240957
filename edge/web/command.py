"""What `edge web` does with its options: serves, or changes the password or a token."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from edge import config as configs
from edge.config import Config
from edge.errors import ConfigError, EdgeError
from edge.text import escaped
from edge.web import activation, listening
from edge.web.password import MOST_BYTES, Passwords
from edge.web.place import Place
from edge.web.tokens import Tokens
from edge.web.vault import Vault, home

IDLE_S: Final = 600.0
"""Without a request, where systemd starts the server when one comes."""
WORKERS: Final = 4
"""Threads that classify uploads, at most; at most one for each core."""


def prepare(args: argparse.Namespace) -> tuple[Path, Callable[[], int]]:
    """Open what only root may; return the state directory, and the command. Raises EdgeError."""
    state = home()
    if args.set_password or args.new_token or args.remove_token:
        return state, lambda: _change(args, Vault(state))
    with _excused():
        place, opened = _opened(args, state)

    def serve() -> int:
        with _excused():
            _serve(args, place, opened)
        return 0

    return state, serve


@contextlib.contextmanager
def _excused() -> Iterator[None]:
    """Answer those who wait for a server that cannot start."""
    try:
        yield
    except EdgeError:
        activation.excuse()
        raise


def _change(args: argparse.Namespace, vault: Vault) -> int:
    """Change the password or a token; return the exit status. Raises EdgeError."""
    if args.set_password:
        return _set_password(vault)
    tokens = Tokens(vault)
    if args.new_token:
        print(escaped(tokens.add(args.new_token)))
        print(escaped(f"token {args.new_token}: shown this once, stored hashed"), file=sys.stderr)
        return 0
    tokens.remove(args.remove_token)
    print(escaped(f"token {args.remove_token} removed"))
    return 0


def _opened(args: argparse.Namespace, state: Path) -> tuple[Place, listening.Opened]:
    """Return config, socket and certificates. Raises ConfigError."""
    path = args.config
    if path is None and configs.SERVICE_CONFIG.exists():
        path = configs.SERVICE_CONFIG
    place = Place(path, state, configs.read_tables(path))
    if (args.tls_cert is None) != (args.tls_key is None):
        raise ConfigError("a certificate and its key", expected="both --tls-cert and --tls-key")
    tls = (args.tls_cert, args.tls_key) if args.tls_cert else None
    return place, listening.opened(args.host, args.port, tls)


def _serve(args: argparse.Namespace, place: Place, opened: listening.Opened) -> None:
    try:
        from edge.web import serve
    except ModuleNotFoundError as exc:
        raise ConfigError(
            f"{exc.name} is not installed",
            where="edge web",
            hint="install the package edge-camera-web, or `pip install 'edge-camera[web]'`",
        ) from exc
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    os.environ.setdefault("STATE_DIRECTORY", str(place.state))  # for settings and models
    config, vault = place.load(), Vault(place.state)
    options = serve.Options(
        socket=socket_path(config),
        idle_s=idle_s(args.idle, activation.is_activated(), config.web.history),
        names=tuple(args.name),
        behind_proxy=args.proxy,
        workers=min(WORKERS, len(os.sched_getaffinity(0))),
    )
    serve.run(options, opened, Passwords(vault), Tokens(vault), place)


def idle_s(given: float | None, activated: bool, history: bool) -> float:
    """Return after how long without a request the server ends; 0: never.

    Without a gap in the history it cannot end: nobody would keep what the daemon says.
    """
    if given is not None:
        return given
    return IDLE_S if activated and not history else 0.0


def socket_path(config: Config) -> Path:
    """Return where the daemon's local socket is. Raises ConfigError where it has none."""
    if not config.local.enabled:
        hint = "set local.enabled = true"
        raise ConfigError("the daemon has no local socket", where="local.enabled", hint=hint)
    return configs.local_path(config.local) or configs.SERVICE_SOCKET


def _set_password(vault: Vault) -> int:
    passwords_file = Passwords.store(vault, _typed())
    print(escaped(f"password set: {passwords_file}"))
    return 0


def _typed() -> str:
    """Return a new password, typed twice on a terminal, else the first line of stdin."""
    if not sys.stdin.isatty():
        return sys.stdin.readline(MOST_BYTES + 2).rstrip("\r\n")
    try:
        password = getpass.getpass("New password of the page: ")
        if getpass.getpass("Again: ") != password:
            raise ConfigError("the two passwords differ", hint="try again")
    except EOFError as exc:
        raise ConfigError("no password given") from exc
    return password
