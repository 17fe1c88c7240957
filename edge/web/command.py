"""What `edge web` does with its options: serves, or changes the password or a token."""

from __future__ import annotations

import argparse
import getpass
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge import config as configs
from edge.config import Config
from edge.errors import ConfigError, EdgeError
from edge.text import escaped
from edge.web import activation
from edge.web.password import MOST_BYTES, Passwords
from edge.web.place import Place
from edge.web.tokens import Tokens
from edge.web.vault import Vault, home

IDLE_S: Final = 600.0
"""Without a request, where systemd starts the server when one comes."""
WORKERS: Final = 4
"""Threads that classify uploads, at most; at most one for each core."""


def prepare(args: argparse.Namespace) -> tuple[Path, Callable[[], int]]:
    """Return the state directory, which is changed, and the command."""
    state = home()
    return state, lambda: run(args, state)


def run(args: argparse.Namespace, state: Path) -> int:
    """Run the command; return the exit status. Raises EdgeError."""
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    vault = Vault(state)
    tokens = Tokens(vault)
    if args.set_password:
        return _set_password(vault)
    if args.new_token:
        print(escaped(tokens.add(args.new_token)))
        print(escaped(f"token {args.new_token}: shown this once, stored hashed"), file=sys.stderr)
        return 0
    if args.remove_token:
        tokens.remove(args.remove_token)
        print(escaped(f"token {args.remove_token} removed"))
        return 0
    try:
        _serve(args, state, Passwords(vault), tokens)
    except EdgeError:
        activation.excuse()
        raise
    return 0


def _serve(args: argparse.Namespace, state: Path, passwords: Passwords, tokens: Tokens) -> None:
    path = args.config
    if path is None and configs.SERVICE_CONFIG.exists():
        path = configs.SERVICE_CONFIG
    os.environ.setdefault("STATE_DIRECTORY", str(state))  # for settings and models
    place = Place(path, state)
    config = place.load()
    if (args.tls_cert is None) != (args.tls_key is None):
        raise ConfigError("a certificate and its key", expected="both --tls-cert and --tls-key")

    try:
        from edge.web import serve
    except ModuleNotFoundError as exc:
        raise ConfigError(
            f"{exc.name} is not installed",
            where="edge web",
            hint="install the package edge-camera-web, or `pip install 'edge-camera[web]'`",
        ) from exc
    options = serve.Options(
        host=args.host,
        port=args.port,
        socket=socket_path(config),
        idle_s=idle_s(args.idle, activation.is_activated(), config.web.history),
        tls=(args.tls_cert, args.tls_key) if args.tls_cert else None,
        names=tuple(args.name),
        behind_proxy=args.proxy,
        workers=min(WORKERS, len(os.sched_getaffinity(0))),
    )
    serve.run(options, passwords, tokens, place)


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
