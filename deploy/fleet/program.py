"""What the programs of a fleet have in common: a command line, signals, a log, an exit status."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from edge.daemon import logs
from edge.errors import ConfigError, EdgeError

Run = Callable[[argparse.Namespace, threading.Event], None]
"""Runs until the event is set. Raises EdgeError."""


class Parser(argparse.ArgumentParser):
    """A parser with ``--config``, whose errors are one line, as those of the config."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(prog=name, description=text, allow_abbrev=False)
        self.add_argument("--config", type=Path, help="as edge.toml; only its table [mqtt] counts")

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError."""
        raise ConfigError(message, where="command line", hint="--help lists the options")


def within(args: argparse.Namespace, **most: int) -> None:
    """Raise ConfigError where an option is not from 1 to its ``most``."""
    for option, highest in most.items():
        if not 1 <= (value := getattr(args, option)) <= highest:
            where, expected = f"--{option}", f"1 to {highest}"
            raise ConfigError("out of range", where=where, expected=expected, got=str(value))


def main(parser: Parser, run: Run) -> int:
    """Run until a signal; return the exit status."""
    logs.configure(parser.prog)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        run(parser.parse_args(), stop)
    except EdgeError as exc:
        logs.fail(exc)
        return exc.exit_status
    return 0
