"""The arguments of `edge web`. Imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from edge.cli import values

HOST: Final = "127.0.0.1"
PORT: Final = 8080


def add(web: argparse.ArgumentParser) -> None:
    """Add the arguments of `edge web`."""
    web.add_argument(
        "--config", metavar="FILE", type=Path, help="edge.toml (default: the service's, if present)"
    )
    web.add_argument(
        "--host", default=HOST, help=f"address to listen at (default: {HOST}: this machine only)"
    )
    web.add_argument("--port", type=values.port, default=PORT, help=f"default: {PORT}")
    web.add_argument(
        "--name", action="append", default=[], metavar="HOST", help="a further name of this server"
    )
    web.add_argument("--tls-cert", metavar="FILE", type=Path, help="certificate, PEM: serve HTTPS")
    web.add_argument("--tls-key", metavar="FILE", type=Path, help="its key, PEM")
    web.add_argument(
        "--proxy", action="store_true", help="a proxy on this machine adds X-Forwarded-For"
    )
    web.add_argument(
        "--idle",
        metavar="SECONDS",
        type=values.duration,
        help="end after so long without a request (default: 600 if started by systemd's socket)",
    )
    change = web.add_mutually_exclusive_group()
    change.add_argument(
        "--set-password", action="store_true", help="set the password of the page, and end"
    )
    change.add_argument("--new-token", metavar="NAME", help="print a new token, and end")
    change.add_argument("--remove-token", metavar="NAME", help="remove a token, and end")
