"""The arguments of `edge teach`. Imports nothing heavy."""

from __future__ import annotations

import argparse


def add(teach: argparse.ArgumentParser) -> None:
    """Add the arguments of `edge teach`."""
    teach.add_argument("folder", metavar="DIR", help="DIR/CLASS/*.jpg")
    teach.add_argument("--name", help="of the model (default: the folder's)")
    teach.add_argument(
        "--features",
        default="features",
        metavar="MODEL",
        help="backbone: features (default), or features-large for accuracy",
    )
    teach.add_argument("--out", metavar="DIR", help="where the model goes (default: ./NAME-model)")
    teach.add_argument(
        "--background",
        action="append",
        metavar="LABEL",
        help="class in which nothing of interest is there (default: neither, if there is one)",
    )
    teach.add_argument("--json", action="store_true", help="one JSON object on the last line")
    teach.add_argument(
        "--progress",
        choices=("auto", "json"),
        default="auto",
        help="auto: a line on a terminal; json: lines on stderr, for a program",
    )
    teach.add_argument(
        "--gently", action="store_true", help="one thread, of low priority: what else runs is first"
    )
    teach.add_argument(
        "--skip-empty", action="store_true", help="leave out classes without pictures"
    )
