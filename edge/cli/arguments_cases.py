"""Arguments of `edge cases`. Imports nothing heavy."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Final

EXAMPLES: Final = {
    "list": "edge cases list --reason margin --json",
    "show": "edge cases show 20260131T174501-250-4711",
    "sort": "edge cases sort 20260131T174501-250-4711 open",
    "export": "edge cases export gate.tar --label open --label closed",
    "import": "edge cases import gate.tar",
    "purge": "edge cases purge --unsorted",
}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, help: str) -> argparse.ArgumentParser:
        one = actions.add_parser(
            name,
            help=help,
            description=help[0].upper() + help[1:] + ".",
            epilog=f"example: {EXAMPLES[name]}",
        )
        one.add_argument(
            "--config",
            metavar="FILE",
            type=Path,
            help="edge.toml (default: the service's, if present)",
        )
        one.add_argument("--folder", metavar="DIR", type=Path, help="of the cases")
        return one

    listed = action("list", "list cases, oldest first")
    listed.add_argument("--json", action="store_true", help="print one JSON object for each case")
    listed.add_argument("--reason", help="only those that were kept for this reason")
    listed.add_argument("--label", help="only those of this class; unsorted: of none")
    listed.add_argument("--predicted", metavar="LABEL", help="only those that the model gave this")
    listed.add_argument("--since", metavar="TIME", type=_moment, help="2026-01-31, or with T17:45")
    listed.add_argument("--until", metavar="TIME", type=_moment, help="the same; not included")

    show = action("show", "print what is known of a case, and where its picture is")
    show.add_argument("name", metavar="NAME", help="the case, or the path of its picture")
    show.add_argument("--json", action="store_true", help="one JSON object")

    sort = action("sort", "sort cases into a class")
    sort.add_argument("names", metavar="NAME", nargs="+", help="a case, or its picture's path")
    sort.add_argument("label", metavar="LABEL", nargs="?", help="the class; unsorted: none")
    sort.add_argument("--undo", action="store_true", help="take the cases out of their class")

    export = action("export", "write sorted cases into a tar file, a folder for each class")
    export.add_argument("file", metavar="FILE", type=Path, help="the tar file")
    export.add_argument("--label", action="append", help="only this class; may be repeated")

    take = action("import", "take sorted cases from a tar file")
    take.add_argument("file", metavar="FILE", type=Path, help="the tar file")

    purge = action("purge", "remove cases, without asking")
    which = purge.add_mutually_exclusive_group(required=True)
    which.add_argument("--unsorted", action="store_true", help="those that are in no class")
    which.add_argument("--all", action="store_true", help="the sorted ones too")


def _moment(text: str) -> float:
    """Return seconds since 1970 of a date, or a date and a time; local unless it says otherwise."""
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        expected = "expected a date, or a date and a time: 2026-01-31T17:45"
        raise argparse.ArgumentTypeError(f"{expected}, got {text!r}") from None
