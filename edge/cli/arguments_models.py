"""Arguments of `edge models`. Imports nothing heavy."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from edge.cli import values

ACTIONS: Final = ("list", "add", "remove", "sign")
SIGNING: Final = ("key", "serial", "expires", "device", "out")
ADDING: Final = ("sha256", "allow_downgrade")
USAGE: Final = (
    "expected `list`, `add FOLDER`, `add BUNDLE.edgemodel`, `add URL`, `remove NAME` or"
    " `sign FOLDER --key FILE`"
)


def add(models: argparse.ArgumentParser) -> None:
    """Add the arguments of `edge models`."""
    models.add_argument("action", nargs="?", choices=ACTIONS, default="list")
    models.add_argument(
        "model",
        nargs="?",
        help="add: a model's folder, a signed bundle, or the address of one; remove: a name;"
        " sign: a model's folder",
    )
    models.add_argument(
        "--config", metavar="FILE", type=Path, help="edge.toml (default: the service's, if present)"
    )
    models.add_argument("--json", action="store_true", help="one JSON object")
    models.add_argument("--sha256", type=_sha256, help="add: of the whole bundle; refuse another")
    models.add_argument(
        "--allow-downgrade",
        action="store_true",
        help="add: also a bundle with an older serial or version; root only",
    )
    models.add_argument(
        "--key", metavar="FILE", type=Path, help="sign: the private key, Ed25519, PEM"
    )
    models.add_argument(
        "--serial", type=values.positive, help="sign: instead of the time in seconds"
    )
    models.add_argument(
        "--expires", metavar="DATE", type=_date, help="sign: refused from this day on, UTC"
    )
    models.add_argument(
        "--device",
        metavar="PATTERN",
        action="append",
        help="sign: only for devices of this id, with * and ?; may be repeated",
    )
    models.add_argument(
        "--out", metavar="FILE", type=Path, help="sign: instead of NAME-VERSION.edgemodel"
    )


def check(args: argparse.Namespace) -> None:
    """Raise argparse.ArgumentTypeError for arguments that do not belong to the action."""
    wrong = (args.action == "list") != (args.model is None)
    wrong |= (args.action == "sign") != (args.key is not None)
    if wrong:
        raise argparse.ArgumentTypeError(USAGE)
    for action, names in (("sign", SIGNING), ("add", ADDING)):
        for name in names:
            if args.action != action and getattr(args, name) not in (None, False):
                option = name.replace("_", "-")
                raise argparse.ArgumentTypeError(f"--{option} is of `edge models {action}`")


def _sha256(text: str) -> str:
    if not re.match(r"[0-9a-fA-F]{64}\Z", text):
        raise argparse.ArgumentTypeError("expected 64 hexadecimal digits")
    return text.lower()


def _date(text: str) -> int:
    """Return the Unix time at which a day begins."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as exc:
        raise argparse.ArgumentTypeError("expected a day, such as 2027-01-31") from exc
    if (number := int(day.timestamp())) < 1:
        raise argparse.ArgumentTypeError("expected a day after 1970-01-01")
    return number
